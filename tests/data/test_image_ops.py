import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.data.image_ops import (
    _resize,
    fit_image,
    read_image,
    require_image_name,
    resize_and_crop,
    resize_and_pad,
    subtract_mean,
    write_image,
)
from cmpc_tf2.errors import InputError


def test_resize_and_pad_centres_on_black():
    padded = resize_and_pad(np.full((10, 40), 1.0), 20, 20)
    assert padded.shape == (20, 20)
    np.testing.assert_array_equal(np.flatnonzero(padded.any(axis=1)), np.arange(7, 12))  # 5 rows, 7 above, 8 below


def test_resampling_by_hand():
    """Half-pixel centres, zero outside: 2 values to 4 read positions -0.25, 0.25, 0.75, 1.25."""
    line = np.array([[0.0, 4.0]])
    resized = resize_and_crop(np.repeat(line, 2, axis=0), 4, 4)
    np.testing.assert_allclose(resized[1], [0, 1, 3, 3])
    np.testing.assert_allclose(resize_and_crop(np.repeat(line, 2, axis=0), 4, 4, "edge")[1], [0, 1, 3, 4])


@pytest.mark.parametrize("border", ["constant", "edge"])
@pytest.mark.parametrize(
    "source, target", [((48, 64), (24, 32)), ((30, 17), (41, 23)), ((5, 9), (5, 40)), ((1, 1), (3, 2))]
)
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_resampling_equals_scikit_image(source, target, border, floor, rng):
    from skimage.transform import resize

    image = floor + (1 - floor) * rng.random((*source, 3))
    expected = resize(image, target, order=1, mode=border, anti_aliasing=False)
    np.testing.assert_allclose(_resize(image, *target, border), expected, rtol=0, atol=1e-12)


def test_pictures_are_padded_as_if_black_went_on():
    np.testing.assert_allclose(resize_and_pad(np.array([[0.0, 4.0]] * 2), 4, 4)[1], [0, 1, 3, 3])


def test_a_side_keeps_at_least_a_pixel():
    assert resize_and_pad(np.ones((1, 1000)), 320, 320).any()


def test_rounding_is_half_to_even():
    # 5 * (20 / 8) = 12.5 rounds to 12: 4 rows above, 4 below.
    padded = resize_and_pad(np.ones((5, 8)), 20, 20)
    assert np.flatnonzero(padded.any(axis=1)).tolist() == list(range(4, 16))


@pytest.mark.parametrize("height, width", [(480, 640), (640, 427), (320, 320), (100, 31), (1, 1), (7, 3000)])
def test_crop_undoes_pad(height, width, rng):
    mask = np.zeros((height, width))
    mask[height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = 1
    back = resize_and_crop(resize_and_pad(mask, 320, 320), height, width)
    assert back.shape == (height, width)
    if min(height, width) > 50:
        back = back >= 0.5
        assert (back & (mask > 0)).sum() / (back | (mask > 0)).sum() > 0.95


def test_subtract_mean_is_blue_first_and_unscaled():
    pixel = np.array([[[200, 100, 50]]], np.uint8)
    np.testing.assert_allclose(
        subtract_mean(pixel)[0, 0], [50 - 104.00698793, 100 - 116.66876762, 200 - 122.67891434], rtol=1e-6
    )
    assert subtract_mean(pixel).dtype == np.float32


def test_fit_image_keeps_levels():
    image = np.full((50, 50, 3), (255, 7, 0), np.uint8)
    fitted = fit_image(image, 50)
    np.testing.assert_array_equal(fitted, image)
    assert fitted.dtype == np.uint8


def test_kinds_of_pictures(tmp_path):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[..., 0] = 255
    grey = np.full((4, 6), 120, np.uint8)
    pictures = {
        "rgb.png": Image.fromarray(rgb),
        "rgba.png": Image.fromarray(np.dstack([rgb, grey])),
        "cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
        "palette.png": Image.fromarray(rgb).convert("P"),
        "grey.png": Image.fromarray(grey),
        "grey16.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "black.png": Image.fromarray(grey > 200),
    }
    expected = {"grey.png": (120,) * 3, "grey16.png": (120,) * 3, "black.png": (0,) * 3}
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.shape == (4, 6, 3) and image.dtype == np.uint8, name
        np.testing.assert_allclose(image[0, 0], expected.get(name, (255, 0, 0)), atol=3, err_msg=name)


def test_orientation_is_applied_on_request_only(tmp_path):
    picture = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # Turn by 90 degrees.
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (4, 6, 3)
    assert read_image(tmp_path / "turned.jpg", upright=True).shape == (6, 4, 3)


def test_unreadable_pictures_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.png: no such image"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text.png: not a readable image"):
        read_image(tmp_path / "text.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut.jpg: not a readable image"):
        read_image(tmp_path / "cut.jpg")


def test_write_image(tmp_path, rng):
    image = rng.integers(0, 256, size=(5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    write_image(tmp_path / "m.png", image[..., 0] > 100)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "m.png")))) <= {0, 255}
    with pytest.raises(InputError, match=r"ends in \.png or \.jpg"):
        require_image_name(tmp_path / "a.docx")
    with pytest.raises(InputError, match="does not exist"):
        write_image(tmp_path / "no" / "a.png", image)
