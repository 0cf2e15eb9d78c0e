"""Models of every system work with Keras' own `compile`, `fit`, `evaluate`, callbacks and saving."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import cmpc_tf2
from cmpc_tf2.recipes.losses import SummedCrossEntropy
from cmpc_tf2.recipes.optimizers import BiasDoublingAdam, polynomial_schedule
from conftest import ROOT
from models.test_contract import LENGTHS, MASK_NAMES, build, make_inputs
from small import WORDS, weights_of


def cross_entropy() -> keras.losses.Loss:
    return keras.losses.BinaryCrossentropy(from_logits=True)


def make_masks(model) -> np.ndarray:
    """A mask for each of the samples of `make_inputs`; the last one is empty."""
    size = model.config.image_size
    masks = np.random.default_rng(3).uniform(size=(len(LENGTHS), size, size, 1)) < 0.3
    masks[-1] = False
    return masks.astype("float32")


@pytest.fixture(scope="module", params=MASK_NAMES)
def fitted(request, tmp_path_factory, eager):
    """A model after one step of `fit` with callbacks, its inputs and masks, what `fit` returned, and its folder."""
    folder = tmp_path_factory.mktemp(request.param)
    model = build(request.param, vocabulary=WORDS)
    inputs, masks = make_inputs(model), make_masks(model)
    callbacks = [
        keras.callbacks.EarlyStopping(monitor="val_mean_iou", mode="max", patience=1),
        keras.callbacks.ModelCheckpoint(folder / "checkpoint.keras"),
        keras.callbacks.TensorBoard(folder / "logs"),
    ]
    with eager():
        metrics = [cmpc_tf2.OverallIoU(), cmpc_tf2.MeanIoU()]
        model.compile(keras.optimizers.Adam(1e-4), cross_entropy(), metrics=metrics)
        options = {"validation_data": (inputs, masks), "callbacks": callbacks, "verbose": 0}
        history = model.fit(inputs, masks, **options).history
    return model, inputs, masks, history, folder


def expected_scores(logits: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Cross-entropy and IoUs in NumPy."""
    loss = np.mean(np.logaddexp(0, logits) - masks * logits)
    predicted, actual = logits >= 0, masks > 0.5
    intersections = (predicted & actual).sum(axis=(1, 2, 3))
    unions = (predicted | actual).sum(axis=(1, 2, 3))
    ious = [i / u if u else 1.0 for i, u in zip(intersections, unions, strict=True)]
    return {"loss": loss, "overall_iou": intersections.sum() / unions.sum(), "mean_iou": np.mean(ious)}


def test_one_loss_and_one_mask_train_the_mask(fitted, eagerly):
    model, inputs, masks, history, folder = fitted
    expected = expected_scores(np.asarray(model(inputs)["mask_logits"]), masks)
    assert history.keys() == {*expected, *(f"val_{name}" for name in expected)}
    found = model.evaluate(inputs, masks, batch_size=3, return_dict=True, verbose=0)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
        assert history[f"val_{name}"] == [pytest.approx(value, rel=1e-4)], name
    assert model.predict(inputs, verbose=0)["mask_logits"].shape == masks.shape
    assert list((folder / "logs").rglob("events.out.tfevents.*"))


def test_a_compiled_model_is_saved_with_its_optimizer(fitted, eagerly):
    model, inputs, masks, history, folder = fitted
    loaded = keras.saving.load_model(folder / "checkpoint.keras")
    assert type(loaded) is type(model) and loaded.vocabulary == WORDS
    for found, expected in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=expected.path)
    assert int(loaded.optimizer.iterations) == 1
    expected = {name.removeprefix("val_"): value for name, (value,) in history.items() if name.startswith("val_")}
    assert loaded.evaluate(inputs, masks, return_dict=True, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_a_frozen_backbone_stays_as_it_is(fitted, eagerly):
    model, inputs, masks, *_ = fitted
    model.get_backbone().trainable = False
    try:
        frozen = {weight.path for weight in model.get_backbone().weights}
        before = weights_of(model)
        model.compile(keras.optimizers.SGD(0.1), cross_entropy())
        model.train_on_batch(inputs, masks)
    finally:
        model.get_backbone().trainable = True
    changed = {path for path, value in weights_of(model).items() if np.any(value != before[path])}
    assert changed and not changed & frozen


def test_the_summary_shows_the_two_halves(fitted):
    lines = []
    fitted[0].summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "image_encoder" in text and "expression_decoder" in text


@pytest.fixture(scope="module")
def model():
    """A small CMPC for this module alone, because it is compiled."""
    return build("cmpc")


def test_outputs_may_have_losses_of_their_own(model, eagerly):
    inputs, masks = make_inputs(model), make_masks(model)
    logits = {name: np.asarray(value) for name, value in model(inputs).items()}
    names = ["mask_logits", "mask_logits_c4"]
    model.compile(
        "sgd",
        {name: cross_entropy() for name in names},
        loss_weights={"mask_logits": 0.75, "mask_logits_c4": 0.25},
        metrics={"mask_logits": [cmpc_tf2.OverallIoU()]},
    )
    targets = {"mask_logits": masks, "mask_logits_c4": 1 - masks}
    found = model.evaluate(inputs, targets, return_dict=True, verbose=0)
    losses = {name: expected_scores(logits[name], target)["loss"] for name, target in targets.items()}
    assert found["loss"] == pytest.approx(0.75 * losses["mask_logits"] + 0.25 * losses["mask_logits_c4"], rel=1e-5)

    model.compile("sgd", cross_entropy())  # For all outputs that have a target.
    found = model.evaluate(inputs, targets, return_dict=True, verbose=0)
    assert found["loss"] == pytest.approx(sum(losses.values()), rel=1e-5)


def test_one_output_makes_a_plain_model(model, eagerly):
    inputs, masks = make_inputs(model), make_masks(model)
    plain = keras.Model(model.input, model.output["mask_logits"])
    plain.compile("sgd", cross_entropy(), metrics=[cmpc_tf2.MeanIoU()])
    expected = expected_scores(np.asarray(model(inputs)["mask_logits"]), masks)
    found = plain.evaluate(inputs, masks, return_dict=True, verbose=0)
    assert found == pytest.approx({name: expected[name] for name in ("loss", "mean_iou")}, rel=1e-4)


def test_metrics_weight_samples():
    masks = np.zeros((3, 2, 2, 1), "float32")
    masks[0, 0] = masks[1] = 1
    logits = np.array([1.0, -1.0, 0.0, -1.0] * 3, "float32").reshape(3, 2, 2, 1)
    logits[2] = -1
    # IoU: 1 of 3, 2 of 4, and 1 because both masks are empty.
    overall, mean = cmpc_tf2.OverallIoU(), cmpc_tf2.MeanIoU()
    for metric, expected in ((overall, 3 / 7), (mean, (1 / 3 + 1 / 2 + 1) / 3)):
        metric.update_state(masks[:2], logits[:2])
        metric.update_state(masks[2:, ..., 0], logits[2:])  # Masks without the axis of channels.
        assert float(metric.result()) == pytest.approx(expected)
        metric.reset_state()
    for metric, expected in ((overall, 5 / 11), (mean, (1 / 3 + 2 * 1 / 2) / 3)):
        metric.update_state(masks, logits, sample_weight=np.array([1.0, 2.0, 0.0]))
        assert float(metric.result()) == pytest.approx(expected)
        metric.reset_state()
    overall.update_state(masks[2:], logits[2:])
    assert float(overall.result()) == 1


FRESH_SCRIPT = """
import sys
import cmpc_tf2
assert not {"keras", "tensorflow"} & sys.modules.keys()
import keras
model = keras.saving.load_model(sys.argv[1])
names = [type(part).__name__ for part in (model, model.optimizer, model.loss)]
print(*names, *sorted(type(metric).__name__ for metric in model._compile_metrics._user_metrics))
"""


def test_a_new_process_reads_a_compiled_model(model, tmp_path):
    """Losses, optimizers and metrics of this project are found after `import cmpc_tf2` alone."""
    optimizer = BiasDoublingAdam(polynomial_schedule(0.001, 10))
    model.compile(optimizer, SummedCrossEntropy(), metrics=[cmpc_tf2.OverallIoU(), cmpc_tf2.MeanIoU()])
    model.save(tmp_path / "model.keras")
    assert not cmpc_tf2.load_model(tmp_path / "model.keras").compiled
    command = [sys.executable, "-c", FRESH_SCRIPT, str(tmp_path / "model.keras")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["CMPC", "BiasDoublingAdam", "SummedCrossEntropy", "MeanIoU", "OverallIoU"]


JAX_SCRIPT = """
import cmpc_tf2
from models.test_contract import build, make_inputs
from test_keras_api import cross_entropy, make_masks

model = build("cmpc")
inputs, masks = make_inputs(model), make_masks(model)
model.compile("sgd", cross_entropy(), metrics=[cmpc_tf2.OverallIoU(), cmpc_tf2.MeanIoU()])
scores = model.evaluate(inputs, masks, return_dict=True, verbose=0)
model.fit(inputs, masks, batch_size=4, verbose=0)
print(scores["loss"], scores["overall_iou"], scores["mean_iou"])
"""


@pytest.mark.slow
def test_jax_computes_the_same_loss_and_metrics():
    pytest.importorskip("jax")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    result = subprocess.run([sys.executable, "-c", JAX_SCRIPT], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    model = build("cmpc")
    expected = expected_scores(np.asarray(model(make_inputs(model))["mask_logits"]), make_masks(model))
    found = dict(zip(expected, map(float, result.stdout.split()), strict=True))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", sorted(cmpc_tf2.__all__))
def test_public_names_exist(name):
    assert getattr(cmpc_tf2, name).__name__ == name and name in dir(cmpc_tf2)
