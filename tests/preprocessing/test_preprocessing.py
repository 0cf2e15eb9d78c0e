import numpy as np

from small import subtract_mean


def test_subtract_mean_is_blue_first_and_unscaled():
    pixel = np.array([[[200, 100, 50]]], np.uint8)
    np.testing.assert_allclose(
        subtract_mean(pixel)[0, 0], [50 - 104.00698793, 100 - 116.66876762, 200 - 122.67891434], rtol=1e-6
    )
    assert subtract_mean(pixel).dtype == np.float32
