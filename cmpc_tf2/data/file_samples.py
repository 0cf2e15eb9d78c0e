"""What samples share that store picture files as they are, and decode them when they are used.

A split is then as small as its picture files, and keeps the original pixels.
"""

import functools
import io
from pathlib import Path

import numpy as np

from cmpc_tf2.data.batches import OnePicture, require_array
from cmpc_tf2.data.image_decoding import decode_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import read_bytes
from cmpc_tf2.preprocessing.preprocessing import Preprocessing

TOKEN_IDS = "text_batch"
FILE = "file_batch"
EXPRESSION = "sent_batch"


class FileSample:
    """Part of the interface of `batches.Sample`, for samples of one picture file or of several.

    A subclass is a dataclass with `token_ids`, `file` and `expression`.
    """

    stores_resized = False
    own_data_builder = None

    @staticmethod
    def build_options(preprocessing: Preprocessing) -> list[str]:
        """The options by which the builder makes a split for a model: none, pictures are stored as they are."""
        return []

    def has_train_size(self, size: int) -> bool:
        """As `Sample.has_train_size`: every picture has."""
        return True


class PictureSample(FileSample, OnePicture):
    """A sample of one picture: `file` is the content of its file, uint8 `(n,)`."""

    @functools.cached_property
    def image(self) -> np.ndarray:
        """The picture: uint8 RGB `(h, w, 3)`.

        Raises:
            InputError: The file is damaged.
        """
        return decode_image(io.BytesIO(self.file), FILE)

    def require_fit(self, preprocessing: Preprocessing):
        """Decodes the picture, so that whoever reads the sample can name its file if that fails. Any size fits.

        Raises:
            InputError: As `image`.
        """
        _ = self.image

    def require_train_fit(self, preprocessing: Preprocessing):
        """As `require_fit`, for training."""
        self.require_fit(preprocessing)


def read_common(arrays: dict[str, np.ndarray]) -> dict:
    """The fields that all samples of files have, by name.

    Raises:
        InputError: An array has another type or shape; the message names its key.
    """
    token_ids, file, expressions = arrays[TOKEN_IDS], arrays[FILE], arrays[EXPRESSION]
    require_array(token_ids.ndim == 1 and token_ids.dtype.kind in "iu", TOKEN_IDS, "integers (T,)", token_ids)
    require_array(file.ndim == 1 and file.size and file.dtype == np.uint8, FILE, "uint8 (n,)", file)
    require_array(expressions.size == 1 and expressions.dtype.kind == "U", EXPRESSION, "one string", expressions)
    return {"token_ids": token_ids.astype(np.int64), "file": file, "expression": expressions.item()}


@functools.lru_cache(maxsize=8)
def read_picture_file(path: Path) -> tuple[int, int, np.ndarray]:
    """Height and width of a picture, and the content of its file; the references of one share the work.

    Raises:
        InputError: The file is missing, or cannot be used.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such image (--image-root says where the images are)")
    content = read_bytes(path)
    height, width = decode_image(io.BytesIO(content), str(path)).shape[:2]
    return height, width, np.frombuffer(content, np.uint8)
