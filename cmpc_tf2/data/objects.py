"""The `.npz` files of objects: an expression with all annotated objects of its picture, for two-stage models.

These choose among objects. The picture is stored as its file, the mask of the referred object as run lengths.
"""

import dataclasses
import functools

import numpy as np

from cmpc_tf2.data.batches import require_array
from cmpc_tf2.data.file_samples import EXPRESSION, FILE, TOKEN_IDS, PictureSample, read_common
from cmpc_tf2.data.image_decoding import MAX_PIXELS
from cmpc_tf2.data.segmentations import rasterize
from cmpc_tf2.errors import InputError

_BOXES = "box_batch"
_CATEGORIES = "category_batch"
_OBJECT = "object"
_MASK_SIZE = "mask_size"
_MASK_COUNTS = "mask_counts"
_ATTRIBUTES = "attribute_batch"


@dataclasses.dataclass(frozen=True, eq=False)
class ObjectSample(PictureSample):
    """One referring expression with its picture and the picture's objects.

    It can be used as `batches.Sample` wherever models of masks are scored.

    Attributes:
        token_ids: int64 `(T,)`, left-padded with 0.
        file: Content of the picture file, uint8 `(b,)`.
        boxes: The boxes of the objects in the order of their annotations: x, y, width and height in pixels, float64
            `(n, 4)`.
        categories: Their class indices, int64 `(n,)`: `coco_categories.category_names` gives the names.
        object: Index of the object that the expression refers to.
        mask_size: Height and width of the picture.
        mask_counts: That object's mask, as `segmentations.run_lengths` gives it: int64 `(r,)`.
        attributes: Words for its attributes, which some data sets have.
        expression: The sentence as it was given.
    """

    token_ids: np.ndarray
    file: np.ndarray
    boxes: np.ndarray
    categories: np.ndarray
    object: int
    mask_size: tuple[int, int]
    mask_counts: np.ndarray
    attributes: tuple[str, ...]
    expression: str

    contents = "pictures with their objects"
    builder = "python -m cmpc_tf2 build_batches --objects"
    keys = (TOKEN_IDS, FILE, _BOXES, _CATEGORIES, _OBJECT, _MASK_SIZE, _MASK_COUNTS, _ATTRIBUTES, EXPRESSION)

    @functools.cached_property
    def image(self) -> np.ndarray:
        """The picture: uint8 RGB `(h, w, 3)`.

        Raises:
            InputError: The file is damaged, or its picture has another size than the mask.
        """
        image, (height, width) = super().image, self.mask_size
        rows, columns = image.shape[:2]
        if (rows, columns) != (height, width):
            raise InputError(f"{FILE}: expected a picture of {height} x {width}, as its mask, found {rows} x {columns}")
        return image

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """The mask of the object that the expression refers to: bool `(h, w)`."""
        return rasterize({"size": self.mask_size, "counts": self.mask_counts.tolist()}, *self.mask_size)

    def describe(self) -> dict:
        """As `Sample.describe`."""
        area = int(self.mask_counts[1::2].sum())
        return {"expression": self.expression, "picture": self.digest, "size": list(self.mask_size), "area": area}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the file by key."""
        return {
            TOKEN_IDS: self.token_ids.astype(np.int64),
            FILE: self.file,
            _BOXES: self.boxes.astype(np.float64),
            _CATEGORIES: self.categories.astype(np.int64),
            _OBJECT: np.array(self.object),
            _MASK_SIZE: np.array(self.mask_size),
            _MASK_COUNTS: self.mask_counts.astype(np.int64),
            _ATTRIBUTES: np.array(self.attributes, str),
            EXPRESSION: np.array([self.expression]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "ObjectSample":
        """The way back.

        Raises:
            InputError: An array has another type or shape; the message names its key.
        """
        common = read_common(arrays)
        attributes = arrays[_ATTRIBUTES]
        require_array(attributes.ndim == 1 and attributes.dtype.kind == "U", _ATTRIBUTES, "strings (a,)", attributes)
        return cls(**common, **_read_objects(arrays), **_read_mask(arrays), attributes=tuple(attributes.tolist()))


def _read_objects(arrays: dict[str, np.ndarray]) -> dict:
    boxes, categories, index = arrays[_BOXES], arrays[_CATEGORIES], arrays[_OBJECT]
    is_list = boxes.ndim == 2 and len(boxes) and boxes.shape[1] == 4 and boxes.dtype == np.float64
    require_array(is_list, _BOXES, "float64 (n, 4), n above 0", boxes)
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all()):
        raise InputError(f"{_BOXES}: expected finite numbers, widths and heights above 0; found others")
    is_list = categories.shape == boxes.shape[:1] and categories.dtype.kind in "iu" and categories.min() > 0
    require_array(is_list, _CATEGORIES, f"integers above 0 ({len(boxes)},)", categories)
    is_index = index.shape == () and index.dtype.kind in "iu" and 0 <= index < len(boxes)
    require_array(is_index, _OBJECT, f"a whole number below {len(boxes)}", index)
    return {"boxes": boxes, "categories": categories.astype(np.int64), "object": int(index)}


def _read_mask(arrays: dict[str, np.ndarray]) -> dict:
    sides, counts = arrays[_MASK_SIZE], arrays[_MASK_COUNTS]
    is_size = sides.shape == (2,) and sides.dtype.kind in "iu" and sides.min() > 0 and sides.max() <= MAX_PIXELS
    height, width = map(int, sides) if is_size else (0, 0)
    require_array(0 < height * width <= MAX_PIXELS, _MASK_SIZE, "height and width", sides)
    pixels = height * width
    is_mask = counts.ndim == 1 and counts.size and counts.dtype.kind in "iu" and counts.min() >= 0
    is_mask = is_mask and counts.max() <= pixels and counts.sum() == pixels
    require_array(is_mask, _MASK_COUNTS, f"whole numbers, {pixels} in all", counts)
    return {"mask_size": (height, width), "mask_counts": counts.astype(np.int64)}
