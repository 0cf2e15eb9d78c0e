"""The comparison that speed is measured against computes the same numbers."""

import numpy as np
import pytest
import tensorflow as tf
from naive_graph import NaiveGraph

from cmpc_tf2.model_files import load_model
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer


@pytest.mark.usefixtures("eagerly")
def test_the_naive_graph_is_the_model(small_model_file, rng):
    small_model = load_model(small_model_file)
    naive = NaiveGraph(small_model)
    for words in ([5, 7], [4, 6, 8, 9, 10, 4, 8]):
        image = rng.uniform(-120, 120, size=(1, 32, 32, 3)).astype("float32")
        token_ids = np.array([[0] * (20 - len(words)) + words], "int32")
        expected = small_model({"image": image, "token_ids": token_ids})
        for name, logits in tf.function(naive)(tf.constant(image), tf.constant(token_ids)).items():
            np.testing.assert_allclose(logits, expected[name], rtol=0, atol=1e-5, err_msg=name)
    mask = (rng.random((1, 32, 32, 1)) < 0.3).astype("float32")
    trainer = Trainer(small_model, TrainConfig("unc", "train"))
    _, loss = trainer.gradients(({"image": image, "token_ids": token_ids}, mask), 1.0)
    np.testing.assert_allclose(naive.train_step(image, token_ids, mask), loss, rtol=1e-5)
