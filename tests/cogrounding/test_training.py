"""Six training steps of SL-Att. and CG-SL-Att. against the original's.

RMSprop's first steps depend on little more than the signs of the gradients: in float32 the original does not reproduce
itself after the first step. So all steps are compared in float64.
"""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cmpc_tf2.recipes.rmsprop import EpochPolynomialDecay, TorchRMSprop
from cogrounding_original import (
    AXES,
    TINY,
    TINY_CLIPS,
    as_original,
    assign_by_rule,
    read_golden,
    read_manifest,
)
from cogrounding_tf2.config import ANCHORS, GRIDS
from cogrounding_tf2.conversion.names import image_pairs, video_pairs
from cogrounding_tf2.losses import targets_of
from cogrounding_tf2.models.cg_sl_att import CGSLAtt
from cogrounding_tf2.models.proposals import PROPOSALS
from cogrounding_tf2.models.sl_att import SLAtt
from cogrounding_tf2.recipe import CG_SL_ATT, SL_ATT, rate_factor, total_loss

# Parameters whose gradient is zero in exact arithmetic: what is found is rounding.
NOISE = (
    "mapping_lang.0.bias", "mapping_lang.4.bias", "loc_embedding.0.bias", "loc_text_embedding.0.bias",
    "sub_attn.fc.bias", "loc_attn.fc.bias",
)  # fmt: skip
# Norms of heads that nothing reads: the original moves their statistics all the same.
HEADS = tuple(f".batch_norm_{number}.running" for number in (80, 92, 103, 104))
KINDS = {"image": (SLAtt, TINY, image_pairs, SL_ATT), "video": (CGSLAtt, TINY_CLIPS, video_pairs, CG_SL_ATT)}


@contextlib.contextmanager
def building_in(dtype: str):
    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx(dtype)  # The type of the inputs of models.
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def make_model(kind: str, dtype: str):
    """A model by the rule, without dropout, in the form for training."""
    model_type, config, pairs_of, _ = KINDS[kind]
    with building_in(dtype):
        model = model_type(config, name=kind)
        form = model.training_form()
    assign_by_rule(model.weights, pairs_of(config), read_manifest(f"{kind}_tiny"))
    dropouts = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    assert sorted(layer.rate for layer in dropouts) == [0.1, 0.2]
    for layer in dropouts:
        layer.rate = 0.0
    return model, form


def normalize_as_original(pictures: np.ndarray) -> np.ndarray:
    """As `normalize`, in the original's order of operations: the last bits of float32 differ."""
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return (np.float32(pictures) / np.float32(255) - mean) / deviation


def batch_of(kind: str, golden: dict, order: np.ndarray, dtype: str) -> tuple[dict, tf.Tensor]:
    if kind == "image":
        pixels, words, boxes = (np.stack([golden[f"{k}/{name}"] for k in order]) for name in ("image", "words", "box"))
    else:
        pixels, words, boxes = golden["frames"][order][:, 1:3], golden["words"][order], golden["boxes"][order][:, 1:3]
    inputs = {
        {"image": "image", "video": "clip"}[kind]: tf.constant(normalize_as_original(pixels), dtype),
        "token_ids": tf.constant(words.reshape(len(order), -1), tf.int32),
    }
    return inputs, tf.constant(boxes.reshape(len(order), *boxes.shape[1:]), dtype)


def losses_and_gradients(form, inputs, boxes, variables):
    with tf.GradientTape() as tape:
        loss, parts = total_loss(form(inputs, training=True), boxes)
    found = {name.removesuffix("_loss"): float(part) for name, part in parts.items()}
    found = {"yolo": found["detection"], "rank": found["rank"] / 100, "location": found["location"]}
    return {**found, "total": float(loss)}, tape.gradient(loss, variables)


def as_parameters(pairs, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values by path as values by name, in PyTorch's layout."""
    found = {}
    for pair in (pair for pair in pairs if pair.keras in values):
        value = np.asarray(values[pair.keras])
        value = value.transpose(np.argsort(AXES[pair.transform])) if pair.transform in AXES else value
        found[pair.torch] = np.concatenate([found[pair.torch], value], axis=1) if pair.torch in found else value
    return found


def require_close(parity, what: str, found: dict, names, expected: np.ndarray, tolerance: float):
    """Compares numbers by name, each relative to its own size."""
    wanted = dict(zip(names, expected, strict=True))
    assert found.keys() <= wanted.keys()
    for name, value in found.items():
        parity.within(what, value, wanted[name], tolerance, scale=max(abs(wanted[name]), 1e-12), name=name)


@pytest.mark.parametrize("kind", KINDS)
def test_six_steps(kind, parity):
    """Losses, gradients of the first step, weights and outputs at the end; rates are those of the original's epochs."""
    what, golden, (_, config, pairs_of, recipe) = f"{kind} model, training", read_golden(f"{kind}_tiny"), KINDS[kind]
    pairs = pairs_of(config)
    model, form = make_model(kind, "float64")
    trained = recipe.trained_variables(model, False)
    with building_in("float64"):  # The rate is a variable.
        optimizer = TorchRMSprop(1e-4, recipe.weight_decay, rate_factor=rate_factor)
        optimizer.build(trained)
    for number, order in enumerate(golden["train/order"]):
        losses, gradients = losses_and_gradients(form, *batch_of(kind, golden, order, "float64"), trained)
        columns, row = golden["train64/columns"], golden["train64/trajectory"][number]
        require_close(parity, f"{what}: losses", losses, columns, row, 1e-9)
        if number == 0:
            values = {
                v.path: ops.convert_to_numpy(tf.convert_to_tensor(g)) for v, g in zip(trained, gradients, strict=True)
            }
            norms = {k: np.linalg.norm(v) for k, v in as_parameters(pairs, values).items() if k not in NOISE}
            names, expected = golden["train64/parameter_names"], golden["train64/gradient_norms_step0"]
            assert set(names[expected >= 0]) == {*norms, *NOISE}
            require_close(parity, f"{what}: norms of gradients", norms, names, expected, 1e-9)
        rates = dict(zip(columns, row, strict=True))
        assert rates["learning_rate_visual"] == pytest.approx(rates["learning_rate"] * rate_factor("module_list.0/x"))
        optimizer.learning_rate = rates["learning_rate"]
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients])
    state = as_parameters(pairs, {v.path: ops.convert_to_numpy(v) for v in model.variables})
    state = {name: value for name, value in state.items() if not any(head in name for head in HEADS)}
    norms = {name: np.linalg.norm(value) for name, value in state.items()}
    require_close(
        parity,
        f"{what}: norms of weights",
        norms,
        golden["train64/state_names"],
        golden["train64/state_norms_end"],
        1e-9,
    )
    first = np.array([0])
    outputs = form(batch_of(kind, golden, first, "float64")[0])["box_logits"]
    for scale, found in enumerate(as_original(outputs)):
        expected = golden[f"train64/pred_{scale}_end"].reshape(found.shape)
        parity.within(f"{what}: outputs at the end", found, expected, 1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_first_losses_in_float32(kind, parity):
    golden = read_golden(f"{kind}_tiny")
    _, form = make_model(kind, "float32")
    losses, _ = losses_and_gradients(form, *batch_of(kind, golden, golden["train/order"][0], "float32"), [])
    what = f"{kind} model, training: first losses in float32"
    require_close(parity, what, losses, golden["train/columns"], golden["train/trajectory"][0], 5e-5)


def found_target(box) -> tuple[int, int, int, np.ndarray]:
    """Anchor, row, column and values of the target for a box."""
    proposal, place, values = (
        ops.convert_to_numpy(one)[0] for one in targets_of(ops.convert_to_tensor([box], "float32"))
    )
    assert PROPOSALS["place"][proposal] == place
    return *(int(PROPOSALS[name][proposal]) for name in ("anchor", "row", "column")), values


def test_targets_are_the_originals(parity):
    golden = read_golden("image_tiny")
    for number in range(3):
        *found, values = found_target(golden[f"{number}/box"].reshape(4))
        assert found == [golden[f"target/{name}"][number] for name in ("best_anchor", "gj", "gi")]
        parity.within("SL-Att.: targets", values, golden["target/values"][number, :4], 1e-6)


@pytest.mark.parametrize("number, anchor", list(enumerate(ANCHORS)))
def test_a_box_of_an_anchors_size_has_that_anchor(number, anchor):
    size = np.minimum(np.array(anchor) * 256 / 416, 240)
    found, row, column, values = found_target([5, 6, size[0] + 5, size[1] + 6])
    assert found == number
    centre = (size / 2 + (5, 6)) * GRIDS[number // 3] / 256
    np.testing.assert_allclose([column + values[0], row + values[1]], centre, rtol=1e-5)
    np.testing.assert_allclose(values[2:], np.log(size / (np.array(anchor) * 256 / 416)), atol=1e-5)


def test_boxes_are_clamped_to_the_square():
    found, expected = found_target([-30, 100, 400, 300]), found_target([0, 100, 255, 255])
    assert found[:3] == expected[:3] and (found[3] == expected[3]).all()
    assert found_target([250, 250, 400, 400])[:3] == (8, 31, 31)


def test_rates_fall_from_epoch_to_epoch():
    schedule = EpochPolynomialDecay(1e-4, total_steps=376_900)
    for epoch in (0, 1, 40, 99):
        for step in (3769 * epoch, 3769 * (epoch + 1) - 1):
            assert float(schedule(step)) == pytest.approx(1e-4 * (1 - epoch / 100) ** 0.9, rel=1e-6)
    assert float(schedule(376_900)) == 0
    assert float(SL_ATT.make_optimizer(FakeRun()).learning_rate) == pytest.approx(1e-4)


class FakeRun:
    """What the optimizer needs of a run."""

    decay_steps, steps, initial_rate = None, 100, 1e-4
