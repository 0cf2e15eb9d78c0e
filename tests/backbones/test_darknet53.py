"""DarkNet-53 against the numbers of the original."""

import keras
import numpy as np
import pytest
from keras import ops

from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.backbones.darknet53 import DarkNet53
from cmpc_tf2.backbones.darknet_layers import HEADS, convolution_numbers
from cmpc_tf2.conversion.names.darknet import darknet_pairs
from cmpc_tf2.fields import FieldError
from cogrounding_original import TINY, assign_by_rule, normalize, read_golden, read_manifest

TOLERANCE = 1e-5
PREFIX = "visumodel."
# Rows and columns of the golden's maps.
STEPS = {"000": 16, "004": 8, "011": 4}


@pytest.fixture(scope="module")
def golden():
    return read_golden("image_tiny")


@pytest.fixture(scope="module")
def backbone():
    backbone = DarkNet53(TINY.darknet, name="backbone")
    assign_by_rule(backbone.weights, darknet_pairs(TINY.darknet, PREFIX), read_manifest("image_tiny"))
    return backbone


@pytest.fixture(scope="module")
def image(golden):
    return ops.convert_to_tensor(normalize(golden["0/image"][None]))


def test_layers(backbone, image, golden, parity):
    names = [name.rpartition("_")[2] for name in golden if name.startswith("0/stage/darknet_")]
    names.remove("103")  # Nothing reads it, and it is not computed.
    assert len(names) == 13
    outputs = {name: backbone.get_layer(f"module_list.{int(name)}").output for name in names}
    for name, found in keras.Model(backbone.input, outputs)(image).items():
        step, expected = STEPS.get(name, 1), golden[f"0/stage/darknet_{name}"]
        found = np.moveaxis(np.asarray(found), -1, 1)[:, :, ::step, ::step]
        parity.within("DarkNet-53, small: layers", found, expected, TOLERANCE, np.abs(expected).max(), name)


def test_levels_have_strides_of_32_16_and_8(backbone, image, golden):
    taps = backbone(image)
    for level, number in (("t0", "078"), ("t1", "090"), ("t2", "102")):
        expected = golden[f"0/stage/darknet_{number}"]
        np.testing.assert_allclose(taps[level], np.moveaxis(expected, 1, -1), atol=TOLERANCE * np.abs(expected).max())
        side, channels = TINY.darknet.grid(level, 256), TINY.darknet.channels(level)
        assert taps[level].shape == (1, side, side, channels)
    assert {level: DarkNet53Config().channels(level) for level in DarkNet53Config.levels} == {
        "t0": 1024,
        "t1": 512,
        "t2": 256,
    }


def test_the_inference_form(backbone, image):
    folded = backbone.inference_form()
    for level, expected in backbone(image).items():
        np.testing.assert_allclose(folded(image)[level], expected, atol=2e-5 * np.abs(expected).max())
    assert len(folded.weights) == 2 * (len(convolution_numbers()) - 7)


def test_names_are_those_of_the_checkpoints(backbone):
    pairs = darknet_pairs(TINY.darknet, PREFIX)
    assert sorted(pair.keras for pair in pairs) == sorted(variable.path for variable in backbone.weights)
    expected = [name for name in read_manifest("image_tiny") if name.startswith(PREFIX)]
    assert sorted(pair.torch for pair in pairs) == sorted(expected)
    assert len(convolution_numbers()) == 75


def test_the_unused_heads_do_not_train(backbone, image):
    backbone.trainable = True
    trainable = {variable.path for variable in backbone.trainable_variables}
    assert backbone.finetuned_variables() == backbone.trainable_variables
    assert not any(path.startswith(HEADS) for path in trainable)
    assert len(trainable) == 3 * 68
    before = [ops.convert_to_numpy(value) for value in backbone.get_layer(HEADS).weights]
    copy = keras.models.clone_model(backbone)
    copy.set_weights(backbone.get_weights())
    copy(image, training=True)
    for found, expected in zip(copy.get_layer(HEADS).weights, before, strict=True):
        np.testing.assert_array_equal(found, expected)
    moved = copy.get_layer("module_list.0").norm.running_mean
    assert not np.allclose(moved, backbone.get_layer("module_list.0").norm.running_mean)


def test_saving_and_loading(backbone, image, tmp_path):
    backbone.save(tmp_path / "darknet.keras")
    loaded = keras.models.load_model(tmp_path / "darknet.keras")
    assert loaded.config == TINY.darknet
    for level, tap in backbone(image).items():
        np.testing.assert_array_equal(loaded(image)[level], tap)


def test_padding_at_strides_is_even_on_all_sides(backbone):
    """The first cell of a map sees the first pixel by the middle of the kernel; with SAME, it would be the corner."""
    layer = backbone.get_layer("module_list.1")
    x = np.zeros((1, 8, 8, 6), "float32")
    x[0, 0, 0] = 1.0
    kernel, (scale, offset) = ops.convert_to_numpy(layer.conv.kernel), layer.norm.folding()
    expected = kernel[1, 1].sum(0) * scale + offset
    np.testing.assert_allclose(layer(x)[0, 0, 0], np.maximum(expected, 0.1 * expected), atol=1e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"widths": (6, 8, 10)}, "widths: expected a list of six, one per stage"),
        ({"widths": (6, 8, 10, 14, 18, 0)}, "widths: expected a list of six"),
        ({"output_filters": 0}, "output_filters: expected a whole number from 1"),
    ],
)
def test_sizes_are_checked(changes, message):
    with pytest.raises(FieldError, match=message):
        DarkNet53Config(**{**TINY.darknet.to_dict(), **changes})
