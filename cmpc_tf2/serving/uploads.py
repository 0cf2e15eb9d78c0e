"""The inputs of models in HTTP requests: pictures."""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
from fastapi import UploadFile

from cmpc_tf2.data import shapes
from cmpc_tf2.data.image_decoding import TooManyPixelsError, decode_image
from cmpc_tf2.data.image_files import encode_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.serving.segmenter import Limits, RequestError

# Numbers of the pictures of `shapes` that are examples; they are of the val split.
EXAMPLES = (1618, 1604, 1622)

ReadPixels = Callable[[Limits], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Example:
    """An input to try the page with.

    Attributes:
        name: A file name.
        content: The file.
        thumbnail: A PNG file.
        expressions: Expressions about it.
    """

    name: str
    content: bytes
    thumbnail: bytes
    expressions: list[str]


@dataclasses.dataclass(frozen=True)
class Upload:
    """The input of a model in a request.

    Attributes:
        medium: As in the table of systems.
        receive: Dependency of FastAPI: from the fields of the form, a function that reads the pixels for the predictor.
            Large uploads lie on the disk until it is called.
        picture_of: From these pixels the picture that is marked, uint8 RGB `(h, w, 3)`.
        draw_examples: Draws the examples of the page.
    """

    medium: str
    receive: Callable[..., ReadPixels]
    picture_of: Callable[[np.ndarray], np.ndarray]
    draw_examples: Callable[[], list[Example]]


def receive_picture(image: UploadFile) -> ReadPixels:
    """The field `image`."""
    return lambda limits: read_picture(image.file.read(), limits)


def read_picture(content: bytes, limits: Limits) -> np.ndarray:
    """Decodes an uploaded picture, upright, after its size was checked.

    Returns:
        uint8 RGB `(h, w, 3)`.

    Raises:
        RequestError: `decode_image` cannot use it, or it is too large or too small.
    """
    if len(content) > limits.file_bytes:
        raise RequestError(413, f"image: expected at most {limits.file_bytes} bytes, found {len(content)}", "image")
    try:
        return decode_image(io.BytesIO(content), "image", True, limits.pixels, limits.shortest_side)
    except TooManyPixelsError as error:
        raise RequestError(413, str(error), "image") from error
    except InputError as error:
        raise RequestError(422, str(error), "image") from error


def draw_pictures() -> list[Example]:
    """Three pictures of `shapes`, each with an expression for each object that is described."""
    examples = []
    for number in EXAMPLES:
        picture = shapes.compose(number, "val", shapes.SEED)
        content = encode_image(picture.pixels)
        expressions = [expression for _, ((_, expression), *_) in picture.references]
        examples.append(Example(f"shapes_{number:06d}.png", content, content, expressions))
    return examples


PICTURE_UPLOAD = Upload(
    medium="pictures", receive=receive_picture, picture_of=lambda pixels: pixels, draw_examples=draw_pictures
)
