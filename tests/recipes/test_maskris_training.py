"""The recipes of MaskRIS and CARIS against the original's losses, schedule and six training steps."""

import dataclasses
import json
import re
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.recipes import adamw
from cmpc_tf2.recipes.adamw import GroupedAdamW, WarmupPolynomialDecay, parameter_group
from cmpc_tf2.recipes.maskris import CARIS, MASKRIS, MaskedInputs
from cmpc_tf2.systems import SYSTEMS
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer

GOLDEN = Path(__file__).parents[1] / "golden" / "maskris"
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# The factor of the rate and whether a parameter is decayed, by its group in the goldens.
GROUPS = [(0.1, False), (0.1, True), (0.1, False), (0.1, True), (1.0, False), (1.0, True)]


@pytest.fixture(scope="module")
def extras():
    return dict(np.load(GOLDEN / "maskris_extras.npz"))


@pytest.fixture(scope="module")
def tiny():
    return dict(np.load(GOLDEN / "maskris_tiny.npz"))


def aligned_bilinear(size: int, cells: int) -> np.ndarray:
    """The matrix that upsamples a line of cells to a size, with the corners aligned."""
    positions = np.arange(size) * (cells - 1) / (size - 1)
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(cells))).astype(np.float32)


def outputs_of(coarse_logits, size: int) -> dict:
    """The outputs of the network, given the coarse logits."""
    difference = coarse_logits[..., 1:] - coarse_logits[..., :1]
    rows, columns = (aligned_bilinear(size, cells) for cells in difference.shape[1:3])
    mask_logits = tf.einsum("ih,jw,bhwc->bijc", rows, columns, difference)
    return {"coarse_logits": coarse_logits, "mask_logits": mask_logits}


@pytest.mark.parametrize("case", [0, 1])
def test_losses_and_gradients_are_the_originals(case, extras, parity):
    logits, soft = (extras[f"loss/{case}/{name}"].transpose(0, 2, 3, 1) for name in ("logits", "soft"))
    target = tf.constant(extras[f"loss/{case}/target"][..., None], tf.float32)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        outputs = outputs_of(variable, target.shape[1])
        loss, parts, _ = CARIS.batch_loss(lambda _: outputs, {}, target, CARIS.normalizer(target))
    assert float(parts["mask_logits_loss"]) == float(loss)
    parity.within("MaskRIS: loss of the clean pass", loss, extras[f"loss/{case}/hard"], 1e-6)
    gradient = extras[f"loss/{case}/hard_gradient"].transpose(0, 2, 3, 1)
    found = tape.gradient(loss, variable)
    parity.within("MaskRIS: its gradient, relative", found, gradient, 1e-5, np.abs(gradient).max())

    # The clean pass gives the probabilities of the golden; the masked pass has its logits.
    clean = outputs_of(
        tf.stack([tf.zeros_like(soft[..., 0]), tf.math.log(soft[..., 1] / soft[..., 0])], -1), target.shape[1]
    )
    passes = iter([clean, None])
    with tf.GradientTape() as tape:
        loss, parts, _ = MASKRIS.batch_loss(
            lambda _: next(passes) or outputs_of(variable, target.shape[1]), {}, target, MASKRIS.normalizer(target)
        )
    parity.within("MaskRIS: loss of the masked pass", parts["masked_loss"], extras[f"loss/{case}/soft_loss"], 1e-6)
    assert float(loss) == pytest.approx((float(parts["mask_logits_loss"]) + float(parts["masked_loss"])) / 2, rel=1e-6)
    gradient = extras[f"loss/{case}/soft_gradient"].transpose(0, 2, 3, 1) / 2
    found = tape.gradient(loss, variable)
    parity.within("MaskRIS: its gradient, relative", found, gradient, 1e-5, np.abs(gradient).max())


def test_the_clean_pass_does_not_learn_from_the_masked_one():
    rng = np.random.default_rng(0)
    clean, masked = (tf.Variable(rng.normal(size=(2, 4, 4, 2)), dtype=tf.float32) for _ in range(2))
    target = tf.constant(rng.random((2, 16, 16, 1)) < 0.3, tf.float32)
    gradients = []
    for recipe, factor in ((MASKRIS, 2), (CARIS, 1)):
        passes = iter([clean, masked])
        with tf.GradientTape() as tape:
            loss, _, _ = recipe.batch_loss(
                lambda _: outputs_of(next(passes), 16), {}, target, recipe.normalizer(target)
            )
        gradients.append(factor * tape.gradient(loss, clean))
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-7)


def test_the_schedule_is_the_originals(extras, parity):
    schedule = WarmupPolynomialDecay(1e-5, 50_000, MASKRIS.warmup_steps)
    rates = np.array([float(schedule(step)) for step in extras["schedule/steps"]])
    parity.within("MaskRIS: learning rates, relative", rates / extras["schedule/rates"], np.ones(len(rates)), 1e-6)
    assert float(schedule(50_000)) == float(schedule(60_000)) == 0
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(again(2000)) == float(schedule(2000))


def test_a_run_takes_its_defaults_from_the_recipe():
    """50 epochs of 42,404 objects in batches of 16, without the last incomplete one."""
    for recipe in (MASKRIS, CARIS):
        assert recipe.steps == 50 * (42_404 // 16) and recipe.batch_size == 16
        assert (recipe.learning_rate, recipe.weight_decay, recipe.warmup_steps) == (1e-4, 1e-2, 1500)


def weights_of(values: dict[str, np.ndarray]) -> list[keras.Variable]:
    return [keras.Variable(value, name=name) for name, value in values.items()]


@pytest.mark.parametrize("scale", [0.01, 10])
def test_steps_are_those_of_pytorch(scale, rng):
    """Against the formula in float64, with gradients below and above the norm at which they are clipped."""
    values = {"kernel": rng.normal(size=(3, 4)), "gn_gamma": rng.normal(size=5), "norm_gamma": rng.normal(size=5)}
    variables = weights_of(values)
    optimizer = GroupedAdamW(WarmupPolynomialDecay(0.01, 10, 3), decay=0.1)
    optimizer.build(variables)
    momentum, velocity = (dict.fromkeys(values, 0) for _ in range(2))
    for step, rate in enumerate([0.01, 0.01 * (0.001 + 0.999 / 3), 0.01 * (0.001 + 0.999 * 2 / 3)], start=1):
        gradients = {name: scale * rng.normal(size=value.shape) for name, value in values.items()}
        optimizer.apply([tf.constant(gradient, tf.float32) for gradient in gradients.values()])
        norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values()))
        assert (norm > 1) == (scale == 10)
        for name, gradient in gradients.items():
            gradient *= min(1, 1 / (norm + 1e-6))
            momentum[name] = 0.9 * momentum[name] + 0.1 * gradient
            velocity[name] = 0.999 * velocity[name] + 0.001 * gradient**2
            values[name] *= 1 - rate * (0 if name == "norm_gamma" else 0.1)
            root = np.sqrt(velocity[name]) / np.sqrt(1 - 0.999**step) + 1e-8
            values[name] -= rate / (1 - 0.9**step) * momentum[name] / root
    for variable, value in zip(variables, values.values(), strict=True):
        np.testing.assert_allclose(variable, value, rtol=0, atol=1e-6, err_msg=variable.path)


def test_epsilon_counts_behind_the_bias_correction():
    """Gradients of its size: Keras' AdamW would take a step a third as long."""
    (variable,) = weights_of({"kernel": np.zeros(1)})
    optimizer = GroupedAdamW(0.1, decay=0.0)
    optimizer.apply([tf.constant([1e-8])], [variable])
    np.testing.assert_allclose(variable, [-0.05], rtol=1e-5)


def network():
    """The modules of the network, which tests of the whole need."""
    return pytest.importorskip("cmpc_tf2.conversion.names.maskris"), SYSTEMS["maskris"]


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_groups_are_the_originals(size, tiny, tiny_sizes):
    names, system = network()
    if size == "tiny":
        config = tiny_sizes
        groups = dict(zip(tiny["train/parameter_names"], tiny["train/group_of_parameter"], strict=True))
    else:
        config = system.config_type()
        manifest = json.loads((GOLDEN / "maskris_full_manifest.json").read_text())
        groups = {entry["name"]: entry["group"] for entry in manifest if entry.get("group") is not None}
    pairs = names.maskris_pairs(config)
    assert set(groups) - {pair.torch for pair in pairs} == {names.MASK_TOKEN}
    for pair in pairs:
        assert parameter_group(pair.keras) == GROUPS[groups[pair.torch]], pair


@pytest.fixture(scope="module")
def tiny_sizes():
    """Sizes of the small goldens."""
    _, system = network()
    return system.config_type(
        image_size=96,
        vocabulary_size=120,
        swin={"width": 24, "depths": (2, 2, 3, 2), "heads": (2, 3, 4, 6)},
        bert={"width": 40, "layers": 3, "heads": 4, "intermediate": 56, "vocabulary_size": 120, "positions": 24},
        feature_dim=48,
        output_dim=40,
        decoder_layers=2,
        decoder_heads=4,
        head_dim=48,
        points=3,
        mlp_dim=144,
        groups=6,
        prompts=4,
    )


def value_by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a parameter in the goldens, by its name and PyTorch's shape."""
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    *_, module, last = ["", *name.split(".")]
    is_norm = "norm" in module.lower() or module == "gn"
    if last in ("gamma_v2l", "gamma_l2v") or (last == "weight" and is_norm):
        return 1 + 0.1 * noise
    if last == "bias":
        return 0.1 * noise
    if last == "relative_position_bias_table":
        return 0.5 * noise
    tables = "word_embeddings|position_embeddings|token_type_embeddings|lang_prompts|vis_prompts|level_encoding"
    if re.fullmatch(tables, module):
        return 0.4 * noise
    return noise / np.sqrt(np.prod(shape[1:]))


# For each transform of a map of names, the axes of PyTorch in Keras' order.
AXES = {"linear": (1, 0), "conv": (2, 3, 1, 0), "as_is": None}


def to_torch(value: np.ndarray, transform: str) -> np.ndarray:
    return value if AXES[transform] is None else value.transpose(np.argsort(AXES[transform]))


@pytest.fixture
def trained(tiny_sizes):
    """A small network with the weights of the goldens; its weights by the original's name, each with its transform."""
    names, system = network()
    model = system.model_type(tiny_sizes)
    variables = {variable.path: variable for variable in model.trainable_variables}
    weights = {}
    for pair in names.maskris_pairs(tiny_sizes):
        variable = variables.pop(pair.keras)
        shape = to_torch(np.empty(variable.shape, np.uint8), pair.transform).shape
        value = value_by_rule(pair.torch, shape)
        variable.assign(value if AXES[pair.transform] is None else value.transpose(AXES[pair.transform]))
        weights[pair.torch] = variable, pair.transform
    assert not variables
    return model, weights


def batch_of_step(tiny: dict, step: int) -> tuple[dict, tf.Tensor]:
    """The inputs and the masks of a step of the original."""
    samples = tiny["train/samples"][step]
    images = np.stack([(tiny[f"{sample}/image"] / 255 - MEAN) / DEVIATION for sample in samples])
    token_ids, token_mask, masks = (
        np.stack([tiny[f"{sample}/{name}"] for sample in samples]) for name in ("ids", "attention", "mask")
    )
    masked = images.copy()
    for image, noise in zip(masked, tiny["train/noise"][step], strict=True):
        for patch in np.argsort(noise)[int(len(noise) * 0.25) :]:
            row, column = 32 * (patch // 3), 32 * (patch % 3)
            image[row : row + 32, column : column + 32] = 0
    if step == 0:
        np.testing.assert_allclose(masked.transpose(0, 3, 1, 2), tiny["train/image_masked_step0"], atol=1e-5)
    inputs = {"image": images, "token_ids": token_ids, "token_mask": token_mask}
    inputs |= {"masked_image": masked, "masked_token_ids": tiny["train/ids_masked"][step]}
    types = {name: tf.float32 if "image" in name else tf.int32 for name in inputs}
    inputs = {name: tf.constant(value, types[name]) for name, value in inputs.items()}
    return inputs, tf.constant(masks[..., None] > 0, tf.float32)


def settings(model, **more) -> TrainConfig:
    return TrainConfig("unc", "train", model_name="maskris", model=model.config, **more)


@pytest.fixture
def six_step_trainer(trained, monkeypatch):
    """A trainer as in the goldens: with their schedule and without dropout."""
    model, _ = trained
    monkeypatch.setattr(TrainConfig, "make_recipe", lambda _: dataclasses.replace(MASKRIS, warmup_steps=3))
    trainer = Trainer(model, settings(model, batch_size=2, steps=8))
    monkeypatch.setattr(trainer, "_forward", lambda inputs: trainer({name: inputs[name] for name in trainer.input}))
    return trainer


def test_six_steps_are_the_originals(six_step_trainer, trained, tiny, monkeypatch, parity):
    trainer, (model, weights) = six_step_trainer, trained
    summed, gradients = adamw._sum_over_devices, []
    monkeypatch.setattr(adamw, "_sum_over_devices", lambda given: gradients.append(summed(given)) or gradients[-1])
    step_function = tf.function(lambda data: (trainer.train_step(data), gradients.pop()))
    columns = {name: number for number, name in enumerate(tiny["train/columns"])}
    initial = {name: variable.numpy() for name, (variable, _) in weights.items()}
    for step, row in enumerate(tiny["train/trajectory"]):
        rate = float(trainer.base_optimizer.learning_rate)
        trainer.reset_metrics()
        result, found = step_function(batch_of_step(tiny, step))
        for name, column in (("mask_logits_loss", "loss_plain"), ("masked_loss", "loss_masked")):
            expected = row[columns[column]]
            parity.within(
                "MaskRIS: losses of six training steps, relative", result[name], expected, 1e-5, expected, column
            )
        norm, expected = tf.linalg.global_norm(found), row[columns["gradient_norm"]]
        parity.within("MaskRIS: norms of the whole gradient, relative", norm, expected, 2e-4, expected)
        for group, (factor, _) in enumerate(GROUPS):
            assert rate * factor == pytest.approx(row[columns[f"learning_rate_group{group}"]], rel=1e-6)
        if step == 0:
            paths = [variable.path for variable in trainer.trainable_variables]
            assert_gradients(dict(zip(paths, found, strict=True)), weights, tiny, parity)

    names = list(tiny["train/parameter_names"])
    for name, norm, first, gradient in zip(
        names,
        tiny["train/parameter_norms_end"],
        tiny["train/parameter_first_end"],
        tiny["train/gradient_norms_step0"],
        strict=True,
    ):
        if gradient < 1e-6:  # None, or the rounding noise of a bias that a softmax cancels.
            continue
        variable, transform = weights[name]
        value = to_torch(variable.numpy(), transform)
        parity.within(
            "MaskRIS: norms of parameters after six steps, relative", np.linalg.norm(value), norm, 1e-5, norm, name
        )
        assert value.flat[0] == pytest.approx(first, abs=1e-4), name
    padding = weights["backbone.lang_encoder.embeddings.word_embeddings.weight"][0].numpy()
    initial = initial["backbone.lang_encoder.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(padding[0], initial[0])
    assert np.abs(padding[103] - initial[103]).max() > 0

    sample = {name: tiny[f"0/{key}"][None] for name, key in (("token_ids", "ids"), ("token_mask", "attention"))}
    sample["image"] = ((tiny["0/image"] / 255 - MEAN) / DEVIATION)[None].astype(np.float32)
    logits, expected = model(sample)["coarse_logits"][0].numpy(), tiny["train/logits_end"]
    difference = logits[..., 1] - logits[..., 0]
    parity.within("MaskRIS: difference of the logits after six steps", difference, expected[1] - expected[0], 5e-5)


def assert_gradients(gradients: dict, weights: dict, tiny: dict, parity):
    for name, norm, first in zip(
        tiny["train/parameter_names"],
        tiny["train/gradient_norms_step0"],
        tiny["train/gradient_first_step0"],
        strict=True,
    ):
        if norm < 1e-6:
            continue
        variable, transform = weights[name]
        gradient = to_torch(gradients[variable.path].numpy(), transform)
        parity.within("MaskRIS: gradient norms, relative", np.linalg.norm(gradient), norm, 2e-4, norm, name)
        assert gradient.flat[0] == pytest.approx(first, abs=2e-4 * norm), name


def test_masked_inputs_follow_from_the_random_numbers():
    image, token_ids = np.ones((96, 96, 3), np.float32), np.full(20, 110, np.int32)
    inputs = {"image": image, "token_ids": token_ids, "token_mask": np.ones(20, np.int32)}
    first, again = (MaskedInputs()(inputs, np.random.default_rng(5)) for _ in range(2))
    assert first.keys() == MaskedInputs().names(list(inputs)).keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert value.shape == inputs[name.removeprefix("masked_")].shape
    assert first["masked_image"].mean() == pytest.approx(2 / 9) and (image == 1).all()
