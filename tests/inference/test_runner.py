import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cmpc_tf2.inference import runner
from cmpc_tf2.inference.graphs import MANY_ANSWERS, graphs_for
from cmpc_tf2.inference.runner import ModelRunner
from small import subtract_mean


@pytest.fixture
def images(small_model, rng):
    size = small_model.config.image_size
    return rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)


@pytest.fixture
def token_ids(small_model, rng):
    config = small_model.config
    return rng.integers(1, config.vocabulary_size, (3, config.max_words)).astype(np.int32)


def test_compiled_inference_gives_the_models_logits(small_model, images, token_ids):
    """Compiled chains of elementwise operations give the same numbers."""
    model = ModelRunner(small_model)
    inputs = {"image": subtract_mean(images), "token_ids": token_ids}
    expected = small_model({name: ops.convert_to_tensor(value) for name, value in inputs.items()})
    found = model.decode(model.encode(images), {"token_ids": token_ids})
    np.testing.assert_allclose(found, np.asarray(expected["mask_logits"])[..., 0], rtol=0, atol=1e-5)


def test_single_expressions_are_decoded_without_compiling(small_model, images, token_ids, monkeypatch):
    """The numbers are those of several expressions, with a graph and without one."""
    compiled = []
    monkeypatch.setattr(runner, "_compile", lambda function: compiled.append(function) or function)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    model = ModelRunner(small_model)
    features = model.encode(images[:1])
    one = model.decode(features, {"token_ids": token_ids[:1]})
    explained = model.explain(features, {"token_ids": token_ids[:1]})
    with graphs_for(1):
        without_graph = model.decode(features, {"token_ids": token_ids[:1]})
    assert not compiled
    several = model.decode(features, {"token_ids": token_ids})
    assert compiled
    for found in (one, without_graph, explained["mask_logits"][None, ..., 0]):
        np.testing.assert_allclose(found, several[:1], rtol=0, atol=1e-5)


def test_few_answers_make_no_graph():
    for answers, is_eager in ((1, True), (MANY_ANSWERS, False)):
        with graphs_for(answers):
            assert tf.config.functions_run_eagerly() == is_eager
        assert not tf.config.functions_run_eagerly()
    with pytest.raises(KeyError), graphs_for(1):
        raise KeyError
    assert not tf.config.functions_run_eagerly()
