"""The recipes of MaskRIS and CARIS: losses, optimizer and schedule against the original's."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.errors import InputError
from cmpc_tf2.recipes.adamw import GroupedAdamW, WarmupPolynomialDecay
from cmpc_tf2.recipes.maskris import CARIS, MASKRIS, MaskedInputs
from original import GOLDEN

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "square"]
# Of the two passes. The networks in these tests do not read them.
INPUTS = {"token_ids": None, "masked_token_ids": None}


@pytest.fixture(scope="module")
def extras():
    return dict(np.load(GOLDEN / "maskris" / "maskris_extras.npz"))


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
        loss, parts, _ = next(CARIS.losses(lambda _: outputs, {}, target, CARIS.normalizer(target)))
    assert float(parts["mask_logits_loss"]) == float(loss)
    parity.within("MaskRIS: loss of the clean pass", loss, extras[f"loss/{case}/hard"], 1e-6)
    gradient = extras[f"loss/{case}/hard_gradient"].transpose(0, 2, 3, 1)
    found = tape.gradient(loss, variable)
    parity.within("MaskRIS: gradient of the clean pass, relative", found, gradient, 1e-5, np.abs(gradient).max())

    # The clean pass gives the probabilities of the golden; the masked pass has its logits.
    background = np.zeros_like(soft[..., 0])
    clean = outputs_of(tf.stack([background, np.log(soft[..., 1] / soft[..., 0])], axis=-1), target.shape[1])
    with tf.GradientTape() as tape:
        passes = iter([clean, outputs_of(variable, target.shape[1])])
        (_, first, _), (loss, parts, _) = MASKRIS.losses(
            lambda _: next(passes), INPUTS, target, MASKRIS.normalizer(target)
        )
    parity.within("MaskRIS: loss of the masked pass", parts["masked_loss"], extras[f"loss/{case}/soft_loss"], 1e-6)
    assert float(loss) == float(parts["masked_loss"]) / 2 and list(first) == ["mask_logits_loss"]
    gradient = extras[f"loss/{case}/soft_gradient"].transpose(0, 2, 3, 1) / 2
    found = tape.gradient(loss, variable)
    parity.within("MaskRIS: gradient of the masked pass, relative", found, gradient, 1e-5, np.abs(gradient).max())


def test_the_clean_pass_does_not_learn_from_the_masked_one():
    rng = np.random.default_rng(0)
    clean, masked = (tf.Variable(rng.normal(size=(2, 4, 4, 2)), dtype=tf.float32) for _ in range(2))
    target = tf.constant(rng.random((2, 16, 16, 1)) < 0.3, tf.float32)
    gradients = []
    for recipe, factor in ((MASKRIS, 2), (CARIS, 1)):
        with tf.GradientTape() as tape:
            passes = iter([outputs_of(clean, 16), outputs_of(masked, 16)])
            losses = recipe.losses(lambda _, p=passes: next(p), INPUTS, target, recipe.normalizer(target))
            loss = sum(loss for loss, _, _ in losses)
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
        assert recipe.initial_loss_scale == 65_536  # As PyTorch's gradient scaler.


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


def test_settings_of_the_optimizer_are_the_published_ones_and_saved():
    optimizer = GroupedAdamW()
    assert (float(optimizer.learning_rate), optimizer.decay) == (pytest.approx(1e-4), 1e-2)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.999, 1e-8)
    assert GroupedAdamW.from_config(GroupedAdamW(decay=0.25).get_config()).decay == 0.25


def test_epsilon_counts_behind_the_bias_correction():
    """Gradients of its size: Keras' AdamW would take a step a third as long."""
    (variable,) = weights_of({"kernel": np.zeros(1)})
    optimizer = GroupedAdamW(0.1, decay=0.0)
    optimizer.apply([tf.constant([1e-8])], [variable])
    np.testing.assert_allclose(variable, [-0.05], rtol=1e-5)


@pytest.mark.parametrize("gradient", [[3.0, 4.0], [0.0, 1.0], [0.3, 0.4]])
def test_the_norm_of_the_gradient_is_clipped_as_by_pytorch(gradient):
    """By the first momentum: the steps of Adam hardly depend on the size of the gradient."""
    (variable,) = weights_of({"kernel": np.zeros(2)})
    optimizer = GroupedAdamW(0.1)
    optimizer.apply([tf.constant(gradient)], [variable])
    expected = 0.1 * np.array(gradient) * min(1, 1 / (np.hypot(*gradient) + 1e-6))
    np.testing.assert_allclose(optimizer._momentums[0], expected, rtol=3e-7)


def test_the_decay_of_a_group_goes_by_its_rate():
    """Without gradients nothing but the decay is left."""
    variables = weights_of({"kernel": np.ones(1)})
    for scope in ("lang_encoder", "patch_embed"):
        with keras.name_scope(scope):
            variables += weights_of({"kernel": np.ones(1), "LayerNorm": np.ones(1)})
    optimizer = GroupedAdamW(0.1, decay=0.1)
    optimizer.apply([tf.zeros(1)] * 5, variables)
    np.testing.assert_allclose(np.ravel(variables), [0.99, 0.999, 1, 0.999, 0.999], rtol=1e-6)


def test_the_schedule_goes_by_the_options_of_the_run():
    config = types.SimpleNamespace(steps=3000, decay_steps=None, initial_rate=0.5)
    schedule = CARIS.make_optimizer(config)._learning_rate
    assert float(schedule(0)) == 0.5 and float(schedule(3000)) == 0
    assert float(schedule(2000)) == pytest.approx(0.5 * (1 - 2 / 3) ** 0.9)
    config.decay_steps = 2500
    assert float(CARIS.make_optimizer(config)._learning_rate(2000)) == pytest.approx(0.5 * 0.2**0.9)
    assert CARIS.make_optimizer(config).decay == 0.01


def test_masked_inputs_follow_from_the_random_numbers():
    image, token_ids = np.ones((96, 96, 3), np.float32), np.full(20, 6, np.int32)
    inputs = {"image": image, "token_ids": token_ids, "token_mask": np.ones(20, np.int32)}
    first, again = (MaskedInputs(VOCABULARY)(inputs, np.random.default_rng(5)) for _ in range(2))
    assert first.keys() == MaskedInputs(VOCABULARY).names(list(inputs)).keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert value.shape == inputs[name.removeprefix("masked_")].shape
    assert first["masked_image"].mean() == pytest.approx(2 / 9) and (image == 1).all()


def test_patches_must_divide_the_picture():
    model = types.SimpleNamespace(config=types.SimpleNamespace(image_size=72), vocabulary=VOCABULARY)
    with pytest.raises(InputError, match=r"^image_size 72: expected a multiple of 32 .*--recipe caris"):
        MASKRIS.augmentation(model)
    assert CARIS.augmentation(model) is None
