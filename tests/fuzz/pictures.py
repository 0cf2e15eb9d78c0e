"""Pictures of every format, as `predict` and HTTP read them."""

from pathlib import Path

from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.serving.segmenter import Limits, RequestError, read_picture
from fuzz.targets import Target
from pictures import NOISE, file_of, png_with_text, several, turned

GREY = NOISE.convert("L")


def jpeg(folder: Path) -> Target:
    kinds = [NOISE, GREY, NOISE.convert("CMYK")]
    files = [file_of(image, "JPEG", **options) for image in kinds for options in ({}, {"progressive": True})]
    return _target(folder, *files, turned("JPEG"))


def mpo(folder: Path) -> Target:
    return _target(folder, several("MPO"), several("MPO", exif=b"Exif\0\0"))


def png(folder: Path) -> Target:
    modes = ("1", "L", "LA", "P", "RGBA", "I;16")
    return _target(folder, *(file_of(NOISE.convert(mode)) for mode in modes), turned("PNG"), png_with_text())


def webp(folder: Path) -> Target:
    transparent = NOISE.convert("RGBA")
    return _target(folder, turned("WEBP"), *(file_of(transparent, "WEBP", lossless=lossless) for lossless in (0, 1)))


def tiff(folder: Path) -> Target:
    compressions = (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg")
    files = [file_of(NOISE, "TIFF", compression=compression) for compression in compressions]
    files += [file_of(GREY.convert(mode), "TIFF") for mode in ("1", "I;16", "I;16B", "P", "CMYK", "LAB")]
    return _target(folder, *files, turned("TIFF"), several("TIFF"))


def bmp(folder: Path) -> Target:
    return _target(folder, *(file_of(NOISE.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")))


def gif(folder: Path) -> Target:
    return _target(folder, file_of(GREY, "GIF"), file_of(NOISE, "GIF", transparency=0, interlace=True))


def avif(folder: Path) -> Target:
    return _target(folder, turned("AVIF"), file_of(NOISE.convert("RGBA"), "AVIF", quality=30))


def _target(folder: Path, *originals: bytes) -> Target:
    path = folder / "picture"

    def read(content: bytes):
        path.write_bytes(content)
        refusals = []
        for way in (lambda: read_image(path, upright=True), lambda: read_picture(content, Limits())):
            try:
                way()
            except InputError as error:
                refusals.append(error)
        if refusals:
            # HTTP refuses what `predict` does; and, for its size, more.
            assert isinstance(refusals[-1], RequestError)
            raise refusals[0]

    return Target([*originals], read)
