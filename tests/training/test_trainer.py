"""One training step: gradient accumulation, lower precision, masked passes."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.data.batches import list_batches
from cmpc_tf2.data.pipeline import training_dataset
from cmpc_tf2.model_files import load_model
from cmpc_tf2.precision import computing_in
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.recipes import cmpc
from cmpc_tf2.recipes.losses import SummedCrossEntropy
from cmpc_tf2.recipes.masking import MaskedCopies
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer
from small import WORDS, assert_same_weights, weights_of


def config(**settings) -> TrainConfig:
    return TrainConfig("unc", "train", **settings)


def steps(trainer: Trainer, dataset, count: int) -> dict:
    """Takes steps with `fit`; returns the means over them."""
    history = trainer.fit(dataset, epochs=1, steps_per_epoch=count, shuffle=False, verbose=0)
    return {name: values[-1] for name, values in history.history.items()}


@pytest.fixture(scope="module")
def paths(squares):
    return list_batches(squares, "unc", "train")


def run(model_file: Path, paths, count=5, batch_size=4, augmentation=None, **settings) -> tuple[Trainer, dict]:
    settings = config(batch_size=batch_size, **settings)
    with computing_in(settings.precision):
        trainer = Trainer(load_model(model_file), settings)
    return trainer, steps(
        trainer, training_dataset(paths, batch_size, Preprocessing(32), augmentation=augmentation), count
    )


@pytest.fixture(scope="module")
def whole(cheap_model_file, paths, eager):
    """Takes five steps in float32 with whole batches on one device."""
    with eager():
        return run(cheap_model_file, paths)


def test_accumulated_gradients_equal_those_of_the_batch(whole, cheap_model_file, paths):
    in_parts = run(cheap_model_file, paths, accumulate=2)
    assert whole[1].keys() == in_parts[1].keys()
    for name, value in whole[1].items():
        assert in_parts[1][name] == pytest.approx(value, rel=1e-5), name
    assert_same_weights(weights_of(whole[0]), weights_of(in_parts[0]), tolerance=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_follows_float32(precision, whole, cheap_model_file, paths):
    trainer, means = run(cheap_model_file, paths, precision=precision)
    assert means["loss"] == pytest.approx(whole[1]["loss"], rel=0.03)
    assert means["loss"] != whole[1]["loss"]
    assert all(variable.dtype == "float32" for variable in trainer.variables if "metric" not in variable.path)
    assert trainer.output["mask_logits"].dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
def test_xla_takes_the_same_steps(whole, cheap_model_file, paths):
    assert run(cheap_model_file, paths, jit_compile=True)[1]["loss"] == pytest.approx(whole[1]["loss"], rel=1e-4)


def test_the_masked_pass_learns_from_the_clean_one(cheap_model_file, paths):
    masked_copies = MaskedCopies(Vocabulary(WORDS))
    inputs, target = next(iter(training_dataset(paths, 4, Preprocessing(32), augmentation=masked_copies)))
    model = load_model(cheap_model_file)
    clean = model({"image": inputs["image"], "token_ids": inputs["token_ids"]})
    masked = model({"image": inputs["masked_image"], "token_ids": inputs["masked_token_ids"]})
    entropy = SummedCrossEntropy()
    expected = sum(
        weight * (entropy(target, clean[name]) + entropy(tf.sigmoid(clean[name]), masked[name])) / 2
        for name, weight in cmpc.CMPC.loss_weights.items()
    )
    trainer = Trainer(model, config(batch_size=4, recipe="masked"))
    expected += trainer.recipe.penalty(trainer.trainable_variables)
    gradients, loss = trainer.gradients((inputs, target), 1.0)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert float(trainer.get_metrics_result()["masked_loss"]) > 0

    # The clean pass does not learn to please the masked one: its probabilities are constants.
    fixed = {name: tf.sigmoid(logits) for name, logits in clean.items()}
    with tf.GradientTape() as tape:
        seen = model({name: inputs[name] for name in ("image", "token_ids")}, training=True)
        masked = model({name: inputs[f"masked_{name}"] for name in ("image", "token_ids")}, training=True)
        loss = trainer.recipe.penalty(trainer.trainable_variables) + sum(
            weight * (entropy(target, seen[name]) + entropy(fixed[name], masked[name])) / 2
            for name, weight in cmpc.CMPC.loss_weights.items()
        )
    for found, expected in zip(gradients, tape.gradient(loss, trainer.trainable_variables), strict=True):
        expected = tf.convert_to_tensor(expected)
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_a_pass_begins_after_the_gradients_of_the_one_before(cheap_model_file, paths):
    """One operation waits for all gradients; the operations of the next pass wait for this one alone."""
    masked_copies = MaskedCopies(Vocabulary(WORDS))
    inputs, target = next(iter(training_dataset(paths, 4, Preprocessing(32), augmentation=masked_copies)))
    trainer = Trainer(load_model(cheap_model_file), config(batch_size=4, recipe="masked"))
    graph = tf.function(trainer.gradients, autograph=False).get_concrete_function((inputs, target), 1.0).graph
    count = len(trainer.trainable_variables)
    operations = graph.get_operations()
    barriers = [one for one in operations if one.type == "NoOp" and len(one.control_inputs) >= count]
    followers = [sum(barrier in one.control_inputs for one in operations) for barrier in barriers]
    assert max(followers, default=0) > len(operations) / 10
    assert sum(len(one.control_inputs) for one in operations) < len(operations)


@pytest.mark.parametrize("finetune", [False, True])
def test_the_trainer_does_not_change_the_model_it_is_given(finetune, small_model):
    """The trainer freezes and regularizes weights without changing the model."""

    def state():
        regularizers = [variable.regularizer for variable in small_model.variables]
        flags = [layer.trainable for layer in small_model._flatten_layers()]
        return [variable.path for variable in small_model.trainable_variables], regularizers, flags, small_model.losses

    before = state()
    trainer = Trainer(small_model, config(finetune_backbone=finetune))
    assert state() == before and before[3] == []
    trained = [variable.path for variable in trainer.trainable_variables]
    assert [path for path in before[0] if path in set(trained)] == trained  # In the order of the model.
    assert any(path.startswith("res3") for path in trained) == finetune
    assert not any(path.startswith(("conv1", "res2", "bn")) for path in trained)
    slots = [v.path for v in trainer.base_optimizer.variables if v.path.endswith("_momentum")]
    assert slots == [f"adam/{path.replace('/', '_')}_momentum" for path in trained]
