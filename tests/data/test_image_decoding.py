"""Decoding of picture files: formats, kinds of pixels, damaged files."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageFile

from cmpc_tf2.data import image_decoding
from cmpc_tf2.data.image_decoding import TooManyPixelsError, decode_image
from cmpc_tf2.errors import InputError
from pictures import DAMAGED_METADATA, HEIGHT, NOISE, WIDTH, avif_with_damaged_pixels, file_of, several


def decode(content: bytes, **options) -> np.ndarray:
    return decode_image(io.BytesIO(content), "a picture", **options)


@pytest.mark.parametrize("name", DAMAGED_METADATA)
def test_damaged_metadata_does_not_matter(name):
    content, is_turned = DAMAGED_METADATA[name]
    expected = decode(file_of(NOISE, name.split()[0].upper()))
    np.testing.assert_array_equal(decode(content), expected)
    np.testing.assert_array_equal(decode(content, upright=True), np.rot90(expected, -1) if is_turned else expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_on_request_only(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(NOISE, kind, exif=exif)
    stored = decode(content)
    assert stored.shape == (HEIGHT, WIDTH, 3)
    turns = {
        1: lambda pixels: pixels,
        2: np.fliplr,
        3: lambda pixels: np.rot90(pixels, 2),
        4: np.flipud,
        5: lambda pixels: np.rot90(np.fliplr(pixels)),
        6: lambda pixels: np.rot90(pixels, -1),
        7: lambda pixels: np.rot90(np.fliplr(pixels), -1),
        8: np.rot90,
    }
    np.testing.assert_array_equal(decode(content, upright=True), turns[orientation](stored))


def test_the_first_of_several_pictures():
    """A camera's MPO holds a preview, a TIFF file a smaller copy."""
    np.testing.assert_array_equal(decode(several("TIFF")), np.asarray(NOISE))
    np.testing.assert_array_equal(decode(several("MPO")), decode(file_of(NOISE, "JPEG")))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_are_refused(kind):
    with pytest.raises(InputError, match="a picture: is animated; save one frame of it as PNG or JPEG"):
        decode(several(kind))


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "EPS"])
def test_other_formats_are_refused(kind):
    with pytest.raises(InputError, match="expected a whole JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file, "):
        decode(file_of(NOISE, kind))


@pytest.mark.parametrize(
    "error, words",
    [
        (RuntimeError("Failed to decode\nframe 0"), "damaged or cut off"),
        (AttributeError("'IFDRational' object has no attribute 'encode'"), "damaged or cut off"),
        (OSError("broken\ndata stream"), "damaged or cut off: broken data stream"),
        (MemoryError(), "decoding it takes more memory than there is"),
    ],
)
@pytest.mark.parametrize("step", ["open", "load"])
def test_all_errors_of_a_decoder_are_reported_as_damage(error, words, step, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Image if step == "open" else ImageFile.ImageFile, step, fail)
    with pytest.raises(InputError) as raised:
        decode(file_of(NOISE, "BMP"))
    assert str(raised.value) == f"a picture: not a readable image: {words}"


def test_interrupts_and_programming_errors_are_not_reported_as_damage(monkeypatch):
    for place, name, error in (
        (Image, "open", KeyboardInterrupt()),
        (image_decoding, "_levels_of_8_bits", TypeError()),
        (image_decoding, "without_metadata", TypeError()),
    ):

        def fail(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch, pytest.raises(type(error)):
            patch.setattr(place, name, fail)
            decode(file_of(Image.new("I;16", (3, 3))))
            decode(file_of(NOISE)[:100])


def test_an_avif_file_with_damaged_pixels():
    with pytest.raises(InputError, match=r"a picture: not a readable image: damaged or cut off$"):
        decode(avif_with_damaged_pixels())


def test_sizes():
    content = file_of(Image.new("L", (20, 10)))
    assert decode(content, max_pixels=200, shortest_side=10).shape == (10, 20, 3)
    with pytest.raises(TooManyPixelsError, match="a picture: expected at most 199 pixels, found 20 x 10"):
        decode(content, max_pixels=199)
    with pytest.raises(InputError, match="sides of at least 11 pixels, found 20 x 10"):
        decode(content, shortest_side=11)


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
GREY = np.repeat(RAMP[..., None], 3, axis=2)
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)


def tiff(values: np.ndarray, sample_format: int = 1, order: str = "<", white_is_zero: bool = False) -> bytes:
    """A grey TIFF file of values of any type."""
    values = values.astype(values.dtype.newbyteorder(order))
    height, width = values.shape
    entries = [
        (256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, 0 if white_is_zero else 1),
        (273, 8 + 2 + 9 * 12 + 4), (277, 1), (279, values.nbytes), (339, sample_format),
    ]  # fmt: skip
    tags = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return head + tags + bytes(4) + values.tobytes()


def of_mode(mode: str) -> bytes:
    """A TIFF file, which keeps the mode, of `GREY` or `COLOURS`."""
    if mode in ("LA", "PA"):
        return file_of(Image.fromarray(RAMP).convert("LA").convert(mode), "TIFF")
    return file_of(Image.fromarray(COLOURS).convert(mode), "TIFF")


TWO = np.where(RAMP > 127, 255, 0)
SIXTEEN = RAMP.astype(np.uint16) * 257
KINDS = {
    "1": (file_of(Image.fromarray(TWO.astype(np.uint8)).convert("1"), "TIFF"), np.repeat(TWO[..., None], 3, axis=2)),
    "L": (file_of(Image.fromarray(RAMP), "TIFF"), GREY),
    "L, white is zero": (tiff(255 - RAMP, white_is_zero=True), GREY),
    "LA": (of_mode("LA"), GREY),
    "P": (file_of(Image.fromarray(RAMP).convert("P"), "TIFF"), GREY),
    "PA": (of_mode("PA"), GREY),
    "RGB": (of_mode("RGB"), COLOURS),
    "RGBA": (of_mode("RGBA"), COLOURS),
    "RGBX": (of_mode("RGBX"), COLOURS),
    "CMYK": (of_mode("CMYK"), COLOURS),
    "YCbCr": (file_of(Image.fromarray(COLOURS), "TIFF", compression="jpeg", quality=100), COLOURS),
    "LAB": (of_mode("LAB"), COLOURS),
    "I;16, PNG": (file_of(Image.fromarray(SIXTEEN)), GREY),
    "I;16": (tiff(SIXTEEN), GREY),
    "I;16B": (tiff(SIXTEEN, order=">"), GREY),
    "I;16, white is zero": (tiff(65535 - SIXTEEN, white_is_zero=True), GREY),
}


@pytest.mark.parametrize("mode", KINDS)
def test_kinds_of_pixels(mode):
    content, expected = KINDS[mode]
    assert Image.open(io.BytesIO(content)).mode == mode.split(",")[0].replace("RGBX", "RGB").replace("YCbCr", "RGB")
    found = decode(content)
    assert found.dtype == np.uint8
    tolerance = {"YCbCr": 3, "LAB": 60, "PA": 3}.get(mode, 0)
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_16_bits_are_rounded_to_8():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(decode(tiff(values))[..., 0], np.rint(values / 257))


@pytest.mark.parametrize(
    "content",
    [
        tiff(RAMP.astype(np.int8), sample_format=2),
        tiff(RAMP.astype(np.int16), sample_format=2),
        tiff(RAMP.astype(np.int16), sample_format=2, order=">"),
        tiff(RAMP.astype(np.uint32)),
        tiff(RAMP.astype(np.int32), sample_format=2),
        tiff(RAMP.astype(np.int32), sample_format=2, order=">"),
        tiff(RAMP.astype(np.float32), sample_format=3),
        file_of(Image.fromarray(RAMP).convert("I"), "TIFF"),
        file_of(Image.fromarray(RAMP).convert("F"), "TIFF"),
    ],
)
def test_values_without_a_meaning_in_8_bits_are_refused(content):
    with pytest.raises(InputError, match=r"a picture: expected unsigned values of 8 or 16 bits, .*; convert it to 8"):
        decode(content)


def test_values_that_pillow_does_not_know_are_refused():
    with pytest.raises(InputError, match=r"a picture: not a readable image; .* with unsigned values of 8 or 16 bits$"):
        decode(file_of(NOISE, "TIFF", tiffinfo={339: (2, 2, 2)}))


def test_12_bits_are_scaled_to_8():
    """Two pixels of 0 and 4095, in three bytes."""
    content = tiff(np.zeros((1, 3), np.uint8))[:-3] + b"\x00\x0f\xff"
    for tag, value, changed in ((256, 3, 2), (258, 8, 12)):
        content = content.replace(struct.pack("<HHII", tag, 4, 1, value), struct.pack("<HHII", tag, 4, 1, changed))
    assert decode(content)[0, :, 0].tolist() == [0, 255]
