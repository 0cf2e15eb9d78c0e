import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.backbones.config import I3DConfig
from cmpc_tf2.backbones.i3d import ENDPOINTS, TAPS, InceptionI3D, all_units, fold_batch_norm, kinetics_classifier
from cmpc_tf2.conversion.names.i3d import RGB, i3d_pairs
from cmpc_tf2.conversion.tf1 import tf1_shape
from cmpc_tf2.fields import FieldError
from original import GOLDEN, read_rule, weight_by_rule

TINY = I3DConfig(width=8)
ENDPOINTS_ROW = "I3D: endpoints of three clips, relative to each one's largest value"


def by_rule(name: str, shape: tuple) -> np.ndarray:
    return weight_by_rule(name, shape, read_rule(GOLDEN / "i3d").salt)


def with_weights_by_rule(backbone: InceptionI3D) -> InceptionI3D:
    variables = {variable.path: variable for variable in backbone.variables}
    for pair in i3d_pairs(backbone.config):
        variable = variables.pop(pair.keras)
        variable.assign(by_rule(pair.tf1, tf1_shape(pair, variable.shape)).reshape(variable.shape))
    assert not variables
    return backbone


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "i3d" / "i3d_backbone_tiny.npz"))


@pytest.fixture(scope="module")
def backbone():
    return with_weights_by_rule(InceptionI3D(TINY, all_endpoints=True, name="backbone"))


def clip_of(golden: dict, number: int) -> np.ndarray:
    return golden[f"{number}/clip"][None] / np.float32(127.5) - 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_endpoints(number, backbone, golden, parity):
    """Sides that the strides do not divide, and a single frame, are among them."""
    found = backbone(clip_of(golden, number))
    names = [name.split("/", 1)[1] for name in golden if name.startswith(f"{number}/") and not name.endswith("clip")]
    assert len(names) == (16 if number == 0 else 4)
    for name in names:
        expected = golden[f"{number}/{name}"]
        parity.within(ENDPOINTS_ROW, found[name][0], expected, 1e-5, np.abs(expected).max(), name)


def test_gradients(backbone, golden, parity):
    """Of a target that weights the taps; `finetune` of the model's goldens has those of its loss."""
    kernels_and_offsets = {
        pair.tf1.removeprefix(RGB): pair.keras for pair in i3d_pairs(TINY) if pair.tf1.endswith(("/w", "/beta"))
    }
    variables = {variable.path: variable for variable in backbone.trainable_variables}
    with tf.GradientTape() as tape:
        found = backbone(clip_of(golden, 0))
        target = 0.0
        for index, name in enumerate(TAPS.values()):
            weights = np.random.RandomState(200 + index).standard_normal(found[name].shape)
            target += tf.reduce_sum(found[name] * weights.astype("float32"))
    names = [str(name).removeprefix(RGB) for name in golden["gradient/names"]]
    assert sorted(names) == sorted(kernels_and_offsets)
    gradients = tape.gradient(target, [variables[kernels_and_offsets[name]].value for name in names])
    expected = golden["gradient/target"]
    parity.within("I3D: a weighted sum of the levels, relative", target, expected, 1e-5, abs(expected))
    for name, gradient, norm in zip(names, gradients, golden["gradient/norms"], strict=True):
        parity.within("I3D: norms of the gradients of this sum, relative", tf.norm(gradient), norm, 1e-4, norm, name)
    first = golden["gradient/Conv3d_1a_7x7/conv_3d/w"]
    found = gradients[names.index("Conv3d_1a_7x7/conv_3d/w")]
    parity.within(
        "I3D: gradient of the first kernel, relative to its largest value", found, first, 1e-4, np.abs(first).max()
    )


def test_folding_changes_nothing(backbone, golden):
    folded = fold_batch_norm(backbone)
    assert not [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    convolutions = [layer for layer in folded.layers if isinstance(layer, keras.layers.Conv3D)]
    assert len(convolutions) == len(all_units()) - 2 * 9 and len(all_units()) == 57
    expected = backbone(clip_of(golden, 0))
    for name, found in folded(clip_of(golden, 0)).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-5 * np.abs(expected[name]).max(), err_msg=name)


def test_statistics_never_move(backbone, golden):
    before = [keras.ops.convert_to_numpy(variable) for variable in backbone.non_trainable_variables]
    clip = clip_of(golden, 2)
    for found, expected in zip(backbone(clip, training=True).values(), backbone(clip).values(), strict=True):
        np.testing.assert_array_equal(found, expected)
    for old, variable in zip(before, backbone.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_random_kernels_keep_the_scale_of_the_features(rng):
    keras.utils.set_random_seed(0)
    clip = rng.uniform(-1, 1, size=(1, 8, 32, 32, 3)).astype("float32")
    for level, features in InceptionI3D(TINY)(clip).items():
        assert 0.2 < float(np.sqrt(np.mean(np.square(features)))) < 5, level


def test_levels_and_their_sizes():
    backbone = InceptionI3D(TINY)
    taps = backbone(np.zeros((2, 11, 72, 40, 3), "float32"))
    steps = {"c3": 6, "c4": 3, "c5": 2}
    for level, tap in taps.items():
        rows, columns = TINY.grid(level, 72), TINY.grid(level, 40)
        assert tap.shape == (2, steps[level], rows, columns, TINY.channels(level))
    assert {level: I3DConfig().channels(level) for level in TINY.levels} == {"c3": 480, "c4": 832, "c5": 1024}
    with pytest.raises(FieldError, match="width: expected a multiple of 8"):
        I3DConfig(width=12)


def test_fine_tuning_trains_the_kernels_of_the_blocks(backbone):
    paths = [variable.path for variable in backbone.finetuned_variables()]
    assert len(paths) == 54 and all(path.startswith("Mixed_") and path.endswith("/kernel") for path in paths)


def test_saving_and_loading(backbone, golden, tmp_path):
    backbone.save(tmp_path / "i3d.keras")
    again = keras.saving.load_model(tmp_path / "i3d.keras")
    assert again.config == TINY and [layer.name for layer in again.layers] == [layer.name for layer in backbone.layers]
    clip = clip_of(golden, 2)
    for name, found in again(clip).items():
        np.testing.assert_array_equal(found, backbone(clip)[name])


def test_endpoints_are_those_of_the_original(golden):
    assert [f"0/{endpoint.name}" for endpoint in ENDPOINTS] == [
        name for name in golden if name.startswith("0/") and name != "0/clip"
    ]


@pytest.mark.slow
def test_full_width(parity):
    golden = np.load(GOLDEN / "i3d" / "i3d_backbone_full.npz")
    backbone = with_weights_by_rule(InceptionI3D(all_endpoints=True))
    clip = np.random.RandomState(1).randint(0, 256, (1, 16, 320, 320, 3)).astype("float32") / 127.5 - 1
    found = {name: value.numpy()[0] for name, value in backbone(clip).items()}
    for name, step in (("Mixed_3c", 8), ("Mixed_4f", 4), ("Mixed_5c", 2)):
        expected = golden[next(key for key in golden if key.startswith(name))]
        every = found[name][:, ::step, ::step]
        what = "I3D at full width: levels, relative to each one's largest value"
        parity.within(what, every, expected, 1e-5, np.abs(expected).max(), name)
    for name, shape, mean, std, most in zip(
        *(golden[key] for key in ("names", "shapes", "means", "stds", "maxima")), strict=True
    ):
        value = found[str(name)].astype("float64")
        assert value.shape == tuple(shape)
        np.testing.assert_allclose([value.mean(), value.std(), value.max()], [mean, std, most], rtol=1e-5)


@pytest.mark.slow
def test_logits_of_kinetics(parity):
    golden = np.load(GOLDEN / "i3d" / "i3d_logits_full.npz")
    classifier = kinetics_classifier(with_weights_by_rule(InceptionI3D()))
    last = classifier.get_layer("Logits")
    names = [f"{RGB}Logits/Conv3d_0c_1x1/conv_3d/{name}" for name in "wb"]
    last.set_weights([by_rule(name, tuple(value.shape)) for name, value in zip(names, last.weights, strict=True)])
    clip = np.random.RandomState(2).randint(0, 256, (1, 16, 224, 224, 3)).astype("float32") / 127.5 - 1
    logits = classifier(clip)[0]
    expected = golden["Logits"].ravel()
    parity.within("I3D at full width: logits of Kinetics, relative", logits, expected, 1e-5, np.abs(expected).max())
    np.testing.assert_allclose(keras.ops.softmax(logits), golden["Predictions"].ravel(), atol=1e-5)
