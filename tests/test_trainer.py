"""One step of training: on parts of a batch, in lower precision, with masked passes, on several devices."""

import json
import os
import socket
import subprocess
import sys
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
from cmpc_tf2.recipes import tf1
from cmpc_tf2.recipes.losses import SummedCrossEntropy
from cmpc_tf2.recipes.masking import MaskedCopies
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.run_log import read_log
from cmpc_tf2.training.trainer import Trainer
from conftest import PATIENCE
from small import SMALL, WORDS

ROOT = Path(__file__).resolve().parents[1]


def config(**settings) -> TrainConfig:
    return TrainConfig("unc", "train", model=SMALL, **settings)


def steps(trainer: Trainer, dataset, count: int) -> dict:
    """Takes steps with `fit`; returns the means over them."""
    history = trainer.fit(dataset, epochs=1, steps_per_epoch=count, shuffle=False, verbose=0)
    return {name: values[-1] for name, values in history.history.items()}


def weights(model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.variables}


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
def whole(small_model_file, paths, eager):
    """Five steps in float32, as a whole, on one device."""
    with eager():
        return run(small_model_file, paths)


def test_a_batch_in_parts_is_the_batch(whole, small_model_file, paths):
    in_parts = run(small_model_file, paths, accumulate=2)
    assert whole[1].keys() == in_parts[1].keys()
    for name, value in whole[1].items():
        assert in_parts[1][name] == pytest.approx(value, rel=1e-5), name
    assert_same_weights(weights(whole[0]), weights(in_parts[0]), tolerance=1e-5)


def assert_same_weights(expected: dict, found: dict, tolerance: float):
    """Equal but for biases that a softmax cancels: their gradients are rounding noise, which Adam blows up."""
    for path, value in expected.items():
        if not path.endswith("/key/bias"):
            np.testing.assert_allclose(found[path], value, rtol=0, atol=tolerance, err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_follows_float32(precision, whole, small_model_file, paths):
    trainer, means = run(small_model_file, paths, precision=precision)
    assert means["loss"] == pytest.approx(whole[1]["loss"], rel=0.03)
    assert means["loss"] != whole[1]["loss"]
    assert all(variable.dtype == "float32" for variable in trainer.variables if "metric" not in variable.path)
    assert trainer.output["mask_logits"].dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_parts_that_stay_float32_in_float16(small_model_file, rng):
    """Sums over cells and channels that float16 cannot hold, and a mask value that is beyond it."""
    with computing_in("float16"):
        model = load_model(small_model_file)
        from cmpc_tf2.layers.normalization import GlobalLayerNormalization, l2_normalize

        norm = GlobalLayerNormalization()
        x = (300 * rng.normal(size=(1, 4, 4, 10))).astype("float16")
        np.testing.assert_allclose(np.std(norm(x)), 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(l2_normalize(x).numpy().astype(float), axis=-1), 1, atol=2e-3)
    dtypes = {layer.name: layer.compute_dtype for layer in model.expression_decoder.layers}
    assert dtypes["fusion_c3"] == "float16"
    assert dtypes["score"] == dtypes["upsample"] == "float32"
    out = model({"image": rng.normal(0, 50, size=(1, 32, 32, 3)), "token_ids": np.array([[0] * 18 + [5, 7]])})
    expected = load_model(small_model_file)
    assert all(np.isfinite(logits).all() for logits in out.values())
    assert out["mask_logits"].dtype == "float32"
    assert expected.compute_dtype == "float32"


@pytest.mark.slow
def test_xla_takes_the_same_steps(whole, small_model_file, paths):
    assert run(small_model_file, paths, jit_compile=True)[1]["loss"] == pytest.approx(whole[1]["loss"], rel=1e-4)


def test_the_masked_pass_learns_from_the_clean_one(small_model_file, paths):
    masked_copies = MaskedCopies(Vocabulary(WORDS))
    inputs, target = next(iter(training_dataset(paths, 4, Preprocessing(32), augmentation=masked_copies)))
    model = load_model(small_model_file)
    clean = model({"image": inputs["image"], "token_ids": inputs["token_ids"]})
    masked = model({"image": inputs["masked_image"], "token_ids": inputs["masked_token_ids"]})
    entropy = SummedCrossEntropy()
    expected = sum(
        weight * (entropy(target, clean[name]) + entropy(tf.sigmoid(clean[name]), masked[name])) / 2
        for name, weight in tf1.CMPC.loss_weights.items()
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
            for name, weight in tf1.CMPC.loss_weights.items()
        )
    for found, expected in zip(gradients, tape.gradient(loss, trainer.trainable_variables), strict=True):
        expected = tf.convert_to_tensor(expected)
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("finetune", [False, True])
def test_the_callers_model_stays_as_it_is(finetune, small_model):
    """What is frozen and what decays is the trainer's own affair."""

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


DEVICES_SCRIPT = """
import sys, tensorflow as tf
if sys.argv[1] == "two":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cmpc_tf2.cli import main
sys.exit(main(["train", *sys.argv[2:]]))
"""


def start(devices: str, *arguments, **environment) -> subprocess.Popen:
    command = [sys.executable, "-c", DEVICES_SCRIPT, devices, *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen):
    error = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, error


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.slow
def test_the_number_of_devices_does_not_matter(squares, small_model_file, tmp_path):
    """One device, two of one machine, two machines: the same weights after ten steps."""
    common = ["-d", "unc", "-t", "train", "--batch-root", squares, "--model", small_model_file, "-bs", "4"]
    common += ["--steps", "10", "--checkpoint-every", "5", "--validation-split", "val", "--output-dir"]
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = [
        start("one", *common, tmp_path / "one"),
        start("two", *common, tmp_path / "two", "--strategy", "mirrored"),
    ]
    for process in processes:
        finish(process)
    processes = []
    for index in range(2):
        cluster = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        options = [*common, tmp_path / "workers", "--strategy", "multiworker"]
        processes.append(start("one", *options, TF_CONFIG=cluster))
    for process in processes:
        finish(process)
    expected = weights(load_model(tmp_path / "one" / "last.keras"))
    before = weights(load_model(small_model_file))
    assert any(np.abs(value - before[path]).max() > 1e-3 for path, value in expected.items())
    for folder in ("two", "workers"):
        assert_same_weights(expected, weights(load_model(tmp_path / folder / "last.keras")), tolerance=1e-5)
    expected = read_log(tmp_path / "one")
    assert [row["step"] for row in expected] == ["5", "10"]
    for folder in ("two", "workers"):
        for row, expected_row in zip(read_log(tmp_path / folder), expected, strict=True):
            assert list(row) == list(expected_row)
            for name, value in expected_row.items():
                assert float(row[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), (folder, name)


@pytest.mark.slow
@pytest.mark.parametrize("options, tolerance", [(["--accumulate", "2"], 1e-5), (["--precision", "float16"], 1e-2)])
def test_devices_go_with_parts_and_lower_precision(options, tolerance, squares, small_model_file, tmp_path):
    """Two devices against one: the losses of ten steps."""
    common = ["-d", "unc", "-t", "train", "--batch-root", squares, "--model", small_model_file, "-bs", "4"]
    common += ["--steps", "10", "--checkpoint-every", "5", *options, "--output-dir"]
    processes = [
        start("one", *common, tmp_path / "one"),
        start("two", *common, tmp_path / "two", "--strategy", "mirrored"),
    ]
    for process in processes:
        finish(process)
    losses = [[float(row["loss"]) for row in read_log(tmp_path / name)] for name in ("one", "two")]
    assert losses[0][1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance)
