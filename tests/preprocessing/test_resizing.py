import tracemalloc

import numpy as np
import pytest
from skimage.transform import resize
from skimage.util import img_as_float

from cmpc_tf2.fields import FieldError
from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.preprocessing import interpolation
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.preprocessing.resizing import RESIZINGS
from original import GOLDEN


def pad_with_scikit_image(image: np.ndarray, size: int) -> np.ndarray:
    """The original's `resize_and_pad` on today's scikit-image, floats in 0..1."""
    height, width = image.shape[:2]
    scale = min(size / height, size / width)
    rows, columns = int(np.round(height * scale)), int(np.round(width * scale))
    resized = resize(img_as_float(image), (rows, columns), order=1, mode="constant", anti_aliasing=False)
    padded = np.zeros((size, size, *image.shape[2:]))
    top, left = (size - rows) // 2, (size - columns) // 2
    padded[top : top + rows, left : left + columns] = resized
    return padded


def crop_with_scikit_image(image: np.ndarray, height: int, width: int, border: str) -> np.ndarray:
    """The original's `resize_and_crop` on today's scikit-image."""
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    resized = resize(image, (side, side), order=1, mode=border, anti_aliasing=False)
    return resized[top : top + height, left : left + width]


FIT, STRETCH = RESIZINGS["fit"], RESIZINGS["stretch"]
SIZES = [(480, 640), (640, 427), (64, 64), (100, 31), (50, 64), (1, 1), (3, 40), (65, 63)]


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("darkest", [0, 60])
def test_fit_image_equals_scikit_image(height, width, darkest, rng):
    image = rng.integers(darkest, 256, size=(height, width, 3), dtype=np.uint8)
    expected = np.rint(pad_with_scikit_image(image, 64) * 255)
    fitted = FIT.resize_image(image, 64)
    assert fitted.dtype == np.uint8
    difference = np.abs(fitted - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.1  # Exact halves are rounded either way.


@pytest.mark.parametrize("height, width", SIZES)
def test_fit_mask_equals_scikit_image(height, width, rng):
    mask = rng.random((height, width)) < 0.02
    mask[0, 0] = True
    # Weights below 1e-12 are rounding noise in either.
    np.testing.assert_array_equal(FIT.resize_mask(mask, 64), pad_with_scikit_image(mask.astype(float), 64) > 1e-12)


@pytest.mark.parametrize("height, width", SIZES)
def test_restoring_equals_scikit_image(height, width, rng):
    mask = rng.random((64, 64)) < 0.1
    expected = crop_with_scikit_image(mask.astype(float), height, width, "constant")
    np.testing.assert_array_equal(FIT.restore_mask(mask, height, width), expected > 1e-12)
    np.testing.assert_allclose(FIT.restore(mask, height, width, "constant"), expected, atol=1e-12)
    values = rng.random((64, 64))
    expected = crop_with_scikit_image(values, height, width, "edge")
    np.testing.assert_allclose(FIT.restore(values, height, width), expected, atol=1e-12)


def test_maps_are_restored_in_bands(rng, monkeypatch):
    values = rng.random((64, 64))
    whole = FIT.restore(values, 45, 70)
    monkeypatch.setattr(interpolation, "BAND_PIXELS", 200)
    bands = {rows.start: band for rows, band in FIT.restore_bands(values, 45, 70)}
    assert list(bands) == list(range(0, 45, 2)) and len(bands[44]) == 1
    np.testing.assert_array_equal(np.concatenate(list(bands.values())), whole)
    np.testing.assert_array_equal(FIT.restore(values, 45, 70, dtype=np.float32), whole.astype(np.float32))


def test_fit_image_centres_on_black():
    fitted = FIT.resize_image(np.full((10, 40, 3), 255, np.uint8), 20)
    assert np.flatnonzero(fitted.any(axis=(1, 2))).tolist() == list(range(7, 12))  # 5 rows, 7 above, 8 below.
    # 5 * (20 / 8) = 12.5 rounds to 12, half to even: 4 rows above, 4 below.
    assert np.flatnonzero(FIT.resize_mask(np.ones((5, 8), bool), 20).any(axis=1)).tolist() == list(range(4, 16))


def test_resampling_by_hand():
    """Half-pixel centres: 2 values to 4 read positions -0.25, 0.25, 0.75, 1.25; outside is black."""
    line = np.array([[0, 4]] * 2)
    image = np.repeat(line[..., None] * 60, 3, axis=2).astype(np.uint8)
    assert FIT.resize_image(image, 4)[1, :, 0].tolist() == [0, 60, 180, 180]
    np.testing.assert_allclose(FIT.restore(line, 4, 4, "constant")[1], [0, 1, 3, 3])
    np.testing.assert_allclose(FIT.restore(line, 4, 4)[1], [0, 1, 3, 4])
    assert FIT.restore_mask(line > 0, 4, 4)[1].tolist() == [False, True, True, True]


def test_a_side_keeps_at_least_a_pixel():
    assert FIT.resize_image(np.full((1, 1000, 3), 255, np.uint8), 320).any()
    assert FIT.resize_mask(np.ones((1000, 1), bool), 320).any()


@pytest.mark.parametrize("seed", range(20))
def test_restoring_undoes_fitting(seed):
    """Any picture comes back in its own size, and objects above a hundredth of it survive."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(60, 900, size=2))
    y, x = np.mgrid[:height, :width]
    radius = rng.uniform(0.1, 0.3) * np.sqrt(height * width)
    mask = np.hypot(y - rng.uniform(0.3, 0.7) * height, x - rng.uniform(0.3, 0.7) * width) < radius
    assert mask.mean() > 0.01
    fitted = FIT.resize_image(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), 320)
    back = FIT.restore(fitted[..., 0] / 255, height, width)
    assert back.shape == (height, width)
    back = back >= 0.5
    assert (back & mask).sum() / (back | mask).sum() > 0.95


def test_a_panorama_takes_little_memory():
    """Only the picture's window of the covering square is computed: here 6 MB of 5 GB."""
    assert FIT.restore(np.ones((64, 64)), 30, 26_000).shape == (30, 26_000)
    assert FIT.restore_mask(np.ones((64, 64), bool), 26_000, 30).all()


@pytest.mark.parametrize("height, width", [(20, 40_000), (40_000, 20)])
def test_long_and_thin_pictures_are_fitted_and_restored(height, width):
    """40,000 is more than OpenCV's remapping takes. One line is left, which covers the picture when it is restored."""
    fitted = FIT.resize_image(np.full((height, width, 3), 255, np.uint8), 320)
    assert fitted.any(axis=2).sum() == 320
    assert FIT.resize_mask(np.ones((height, width), bool), 320).sum() == 320
    tracemalloc.start()
    restored = FIT.restore(fitted[..., 0], height, width)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert restored.shape == (height, width) and peak < 8 * restored.nbytes
    assert FIT.restore_mask(fitted[..., 0] > 0, height, width).all()


def test_fit_image_keeps_a_picture_of_its_size(rng):
    image = rng.integers(0, 256, size=(50, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(FIT.resize_image(image, 50), image)


def test_stretching_equals_the_original(parity):
    golden = np.load(GOLDEN / "maskris" / "maskris_extras.npz")
    for number in range(3):
        image, mask, resized = (golden[f"resize/{number}/{name}"] for name in ("image", "mask", "image_resized"))
        size = len(resized)
        preprocessing = Preprocessing(size, **MaskRIS.preprocessing_options)
        found = preprocessing.fit(image)
        np.testing.assert_array_equal(found, resized)
        np.testing.assert_array_equal(preprocessing.fit_mask(mask > 0), golden[f"resize/{number}/mask_resized"] > 0)
        pixels = np.moveaxis(golden[f"resize/{number}/x"], 0, -1)
        parity.within("MaskRIS: normalised pixels *", preprocessing.normalize(found), pixels, 1e-6)
    parity.counted("MaskRIS: resized pictures and masks *", "equal", 3)


@pytest.mark.parametrize("size", [20, 96])
def test_stretched_masks_take_the_nearest_pixel(size, rng):
    """Single pixels tell it from an average where the picture shrinks; the masks of the goldens have none."""
    mask = rng.random((50, 70)) < 0.3
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in mask.shape)
    np.testing.assert_array_equal(STRETCH.resize_mask(mask, size), mask[rows[:, None], columns])


def test_stretched_pictures_come_back(rng):
    y, x = np.mgrid[:90, :200]
    mask = np.hypot((y - 40) * 2, x - 110) < 60
    stretched = STRETCH.resize_image(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), 64)
    back = STRETCH.restore(stretched[..., 0] / 255, 90, 200) >= 0.5
    assert (back & mask).sum() / (back | mask).sum() > 0.95
    image = rng.integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(STRETCH.resize_image(image, 64), image)


@pytest.mark.parametrize("height, width", SIZES)
def test_restoring_a_stretched_map_equals_scikit_image(height, width, rng):
    values = rng.random((64, 64))
    expected = resize(values, (height, width), order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(STRETCH.restore(values, height, width), expected, atol=1e-12)
    mask = values < 0.1
    expected = resize(mask.astype(float), (height, width), order=1, mode="constant", anti_aliasing=False)
    np.testing.assert_array_equal(STRETCH.restore_mask(mask, height, width), expected > 1e-12)


def test_another_resizing_is_named():
    with pytest.raises(FieldError, match="resizing: expected one of fit, stretch, letterbox, none, received 'crop'"):
        Preprocessing(64, "crop")
