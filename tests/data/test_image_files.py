"""Picture files: reading and writing."""

import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.data.image_files import read_image, require_image_name, write_image
from cmpc_tf2.errors import InputError


def test_unreadable_pictures_are_reported(tmp_path):
    with pytest.raises(InputError, match=r"none.png: no such image"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text.png: not a readable image"):
        read_image(tmp_path / "text.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut.jpg: not a readable image: damaged or cut off: image file is truncated"):
        read_image(tmp_path / "cut.jpg")
    with pytest.raises(InputError, match=r"x: cannot be opened: File name too long"):
        read_image(tmp_path / ("x" * 300))


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


def test_jpeg_holds_no_longer_side(tmp_path):
    image = np.zeros((1, 65_501, 3), np.uint8)
    with pytest.raises(
        InputError, match=r"a.jpg: JPEG holds at most 65500 pixels a side, found 65501 x 1; write a .png"
    ):
        write_image(tmp_path / "a.jpg", image)
    assert not list(tmp_path.iterdir())
    write_image(tmp_path / "a.jpg", image[:, 1:])
    write_image(tmp_path / "a.png", image)
    assert read_image(tmp_path / "a.png").shape == image.shape
