import keras
import numpy as np

from cmpc_tf2.layers.level_fusion import LevelFusion


def test_level_fusion_equals_a_convolution_of_the_concatenation(rng):
    first, second = rng.normal(size=(2, 2, 3, 4, 6)).astype("float32")
    sentence = rng.normal(size=(2, 5)).astype("float32")
    layer = LevelFusion(7)
    found = layer([first, second], sentence)
    grid = np.broadcast_to(layer._grid, (2, 3, 4, 8))
    tiled = np.broadcast_to(sentence[:, None, None], (2, 3, 4, 5))
    stacked = np.concatenate([first, second, tiled, grid], axis=-1)
    expected = np.maximum(
        stacked @ keras.ops.convert_to_numpy(layer.kernel) + keras.ops.convert_to_numpy(layer.bias), 0
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
