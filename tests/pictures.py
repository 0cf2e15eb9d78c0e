"""Picture files for the tests: of every format, with several pictures in one, damaged."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 64
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
OTHER = Image.new("RGB", NOISE.size, "red")


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)  # Pillow's encoders leave their settings on what they save.
    return file.getvalue()


def several(kind: str, **options) -> bytes:
    """A file of two pictures, `NOISE` first."""
    return file_of(NOISE, kind, save_all=True, append_images=[OTHER.copy()], **options)


def tiff_tags(*tags: tuple[int, int, int, bytes], rest: bytes = b"") -> bytes:
    """A big-endian TIFF header with tags: number, type, count, four bytes; `rest` follows (`REST_AT`, if two tags)."""
    entries = b"".join(struct.pack(">HHI", *tag[:3]) + tag[3] for tag in tags)
    return b"MM\0*" + struct.pack(">IH", 8, len(tags)) + entries + bytes(4) + rest


REST_AT = struct.pack(">I", 8 + 2 + 2 * 12 + 4)
TURN = (0x112, 3, 1, b"\0\6\0\0")  # By 90 degrees.


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def jpeg_with(segment: bytes) -> bytes:
    content = file_of(NOISE, "JPEG")
    return content[:2] + segment + content[2:]


def png_with(chunk: bytes, after_pixels: bool = False) -> bytes:
    content = file_of(NOISE)
    at = len(content) - 12 if after_pixels else 33
    return content[:at] + chunk + content[at:]


def turned(kind: str) -> bytes:
    """A file whose metadata says how to turn it, and more."""
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "maker", 0x011A: 72.0})
    return file_of(NOISE, kind, exif=exif)


def png_with_text() -> bytes:
    return png_with(
        chunk(b"zTXt", b"key\0\0" + zlib.compress(b"value")) + chunk(b"iCCP", b"p\0\0" + zlib.compress(b"x"))
    )


def mpo_with_damaged_table() -> bytes:
    """It says that it holds 1000 pictures."""
    count = struct.pack("<HHI", 0xB001, 4, 1)
    return several("MPO").replace(count + b"\2\0\0\0", count + b"\xe8\3\0\0")


def tiff_with_damaged_metadata(**options) -> bytes:
    """Its tag of software becomes one of XMP that is a number."""
    content = file_of(NOISE, "TIFF", software="abc", **options)
    return content.replace(struct.pack("<HHI", 305, 2, 4), struct.pack("<HHI", 700, 4, 1))


def avif_with_damaged_exif() -> bytes:
    content = file_of(NOISE, "AVIF", exif=b"Exif\0\0" + tiff_tags(TURN, (0x10F, 2, 4, b"abc\0")))
    at = content.index(b"MM\0*", content.index(b"mdat"))
    return content[:at] + b"hello" + content[at + 5 :]


def avif_with_damaged_pixels() -> bytes:
    content = file_of(NOISE, "AVIF")
    at = content.index(b"mdat") + 4
    return content[:at] + bytes(len(content) - at)


# The pixels are whole, and whether what is left of the metadata says how to turn them.
DAMAGED_METADATA: dict[str, tuple[bytes, bool]] = {
    "jpeg text for a number": (jpeg_with(segment(0xE1, b"Exif\0\0" + tiff_tags((0x100, 2, 4, b"abc\0"), TURN))), True),
    "jpeg text for bytes": (jpeg_with(segment(0xE1, b"Exif\0\0" + tiff_tags(TURN, (0x2BC, 2, 4, b"abc\0")))), True),
    "jpeg number for text": (
        jpeg_with(segment(0xE1, b"Exif\0\0" + tiff_tags((0x10F, 5, 1, REST_AT), TURN, rest=bytes(7) + b"\1"))), True
    ),
    "jpeg turned into text": (
        jpeg_with(segment(0xE1, b"Exif\0\0" + tiff_tags((0x112, 2, 4, b"abc\0")))), False
    ),
    "jpeg short colour segment": (jpeg_with(segment(0xEE, b"Adobe")), False),
    "jpeg short profile": (jpeg_with(segment(0xE2, b"ICC_PROFILE\0")), False),
    "jpeg table of pictures": (mpo_with_damaged_table(), False),
    "png no exif header": (png_with(chunk(b"eXIf", b"not a tiff header")), False),
    "png short exif": (png_with(chunk(b"eXIf", b"II*\0")), False),
    "png short exif after the pixels": (png_with(chunk(b"eXIf", b"MM\0*"), after_pixels=True), False),
    "png long text": (png_with(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**21)))), False),
    "png unknown profile": (png_with(chunk(b"iCCP", b"k\0\7abc")), False),
    "png short size": (png_with(chunk(b"pHYs", b"\0")), False),
    "png wrong checksum": (png_with(chunk(b"tEXt", b"key\0value")[:-1] + b"?"), False),
    "png cut off in text": (png_with(chunk(b"tEXt", bytes(100)), after_pixels=True)[:-50], False),
    "webp no exif header": (file_of(NOISE, "WEBP", exif=b"Exif\0\0not a tiff header"), False),
    "webp short exif": (file_of(NOISE, "WEBP", exif=b"Exif\0\0MM\0*"), False),
    "avif no exif header": (avif_with_damaged_exif(), True),
    "tiff number for text": (tiff_with_damaged_metadata(), False),
    "tiff number for text, compressed": (tiff_with_damaged_metadata(compression="tiff_lzw"), False),
}  # fmt: skip
