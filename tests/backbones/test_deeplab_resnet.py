import keras
import numpy as np
import pytest

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet, bottleneck_names, fold_batch_norm
from cmpc_tf2.backbones.resnet_c4 import ResNetC4


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(3)
    model = DeepLabResNet(DeepLabResNetConfig(width=4, depths=(1, 2, 2, 1)), name="backbone")
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(1 + rng.random(variable.shape))
        elif "/kernel" not in variable.path:
            variable.assign(rng.normal(size=variable.shape))
    return model


@pytest.fixture
def image(rng):
    return rng.normal(0, 50, size=(2, 40, 56, 3)).astype("float32")


def test_names_are_those_of_the_caffe_model():
    assert bottleneck_names(2, 3) == ["2a", "2b", "2c"]
    assert bottleneck_names(3, 4) == ["3a", "3b1", "3b2", "3b3"]
    assert bottleneck_names(4, 23)[-1] == "4b22"


def test_taps_have_one_eighth_of_the_sides(backbone, image):
    taps = backbone(image)
    assert {name: tap.shape for name, tap in taps.items()} == {
        "c3": (2, 5, 7, 32),
        "c4": (2, 5, 7, 64),
        "c5": (2, 5, 7, 128),
    }


@pytest.mark.parametrize("backbone_type", [DeepLabResNet, ResNetC4])
def test_no_narrow_convolution_has_strides(backbone_type):
    """Its gradient overwrites memory that is not its own: TensorFlow 2.21 on CPUs with several threads."""
    model = backbone_type(backbone_type.config_type(width=4, depths=(1, 1, 1, 1)))
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    narrow = [layer for layer in convolutions if layer.kernel_size == (1, 1)]
    assert len(narrow) >= 9 and all(layer.strides == (1, 1) for layer in narrow)


def test_batch_norm_epsilon(backbone):
    """The full-size goldens cannot distinguish 1e-3 from 1e-5, because their variances are large."""
    norm = backbone.get_layer("bn_conv1")
    saved = norm.get_weights()
    one, zero = np.ones(4, "float32"), np.zeros(4, "float32")
    norm.set_weights([one, zero, zero, 1e-4 * one])
    x = np.ones((1, 1, 1, 4), "float32")
    np.testing.assert_allclose(norm(x, training=False), x / np.sqrt(1e-4 + 1e-3), rtol=1e-6)
    norm.set_weights(saved)


def test_statistics_never_move(backbone, image):
    before = [keras.ops.convert_to_numpy(v) for v in backbone.non_trainable_variables]
    evaluated = backbone(image)
    trained = backbone(image, training=True)
    for level in evaluated:
        np.testing.assert_array_equal(evaluated[level], trained[level])
    for old, variable in zip(before, backbone.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_folding_changes_nothing(backbone, image):
    expected, folded = backbone(image), fold_batch_norm(backbone)
    assert not [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for level, tap in folded(image).items():
        np.testing.assert_allclose(tap, expected[level], atol=1e-5 * np.abs(expected[level]).max())


@pytest.mark.parametrize("side, stages", [(64, {4, 5}), (48, {4}), (40, set())])
def test_phases_change_nothing(side, stages, backbone, rng):
    """Both dilated stages run on phases, the first alone, or none, as the grid of side / 8 divides."""
    image = rng.normal(0, 50, size=(2, side, side, 3)).astype("float32")
    folded = fold_batch_norm(backbone, image_size=side)
    names = {layer.name for layer in folded.layers}
    assert {stage for stage in (4, 5) if f"split_phases_{stage}" in names} == stages
    for level, tap in backbone(image).items():
        np.testing.assert_allclose(folded(image)[level], tap, atol=1e-5 * np.abs(tap).max())
