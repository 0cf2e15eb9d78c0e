"""Pictures and masks to the size that a model takes, and back. Each way of resizing is that of an original."""

import abc
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from cmpc_tf2.preprocessing.interpolation import bilinear_bands, grow_mask, source_positions
from cmpc_tf2.preprocessing.letterbox import Letterbox

# Color of the border of `Letterboxed`, RGB: the mean of ImageNet.
LETTERBOX_COLOR = (124, 116, 104)


class Resizing(abc.ABC):
    """A way of resizing.

    Attributes:
        description: What happens to a picture, for model cards; `{size}` stands for the side of the square.
    """

    description: ClassVar[str]

    @abc.abstractmethod
    def resize_image(self, image: np.ndarray, size: int) -> np.ndarray:
        """A picture as the model sees it.

        Args:
            image: uint8 `(h, w, 3)`.
            size: Side of the square.

        Returns:
            uint8 `(size, size, 3)`.
        """

    @abc.abstractmethod
    def resize_mask(self, mask: np.ndarray, size: int) -> np.ndarray:
        """A mask, bool `(h, w)`, resized as the original does it with its picture: bool `(size, size)`."""

    @abc.abstractmethod
    def restore_bands(
        self, values: np.ndarray, height: int, width: int, border: str = "edge"
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Values for each pixel of the resized picture at the picture's own size, a few rows at a time.

        The interpolation is bilinear, with half-pixel centres.

        Args:
            values: float `(S, S)`.
            height: Rows of the picture.
            width: Columns of the picture.
            border: Values outside the map: `edge` (the nearest pixel) or `constant` (zero).

        Yields:
            Rows of the picture, from the top, and their values, float64 `(n, width)`.
        """

    @abc.abstractmethod
    def restore_mask(self, mask: np.ndarray, height: int, width: int) -> np.ndarray:
        """A mask at the picture's own size, with the rim of every pixel whose interpolated value is not zero.

        Args:
            mask: bool `(S, S)`.
            height: Rows of the picture.
            width: Columns of the picture.

        Returns:
            bool `(height, width)`.
        """

    def restore(
        self, values: np.ndarray, height: int, width: int, border: str = "edge", dtype: type = np.float64
    ) -> np.ndarray:
        """`restore_bands` put together: `dtype` `(height, width)`, computed in float64."""
        restored = np.empty((height, width), dtype)
        for rows, band in self.restore_bands(values, height, width, border):
            restored[rows] = band
        return restored


class Fit(Resizing):
    """Scaled to the largest size that fits the square, centred on black.

    Source: `resize_and_pad` and `resize_and_crop` in `util/im_processing.py` of CMPC-Refseg, then `img_as_ubyte`. The
    resampling is that of scikit-image 0.13: bilinear, half-pixel centres, black outside the picture, no anti-aliasing.
    OpenCV's differs outside the picture only, where it repeats the edge; a factor per row and column corrects for that.
    Every pixel that a mask contributes to counts, so masks grow by a rim.

    Differs from TF1: up to one level, on less than a tenth of the values, by rounding; and a side never becomes shorter
    than one pixel, where the original fails. Tested by `tests/preprocessing/test_resizing.py` and
    `tests/data/test_builder.py`.
    """

    description = "scaled to {size} pixels on their longer side and centred on black"

    def resize_image(self, image: np.ndarray, size: int) -> np.ndarray:
        import cv2

        if image.shape[:2] == (size, size):
            return image
        rows, columns, top, left = _fitted_box(*image.shape[:2], size)
        resized = cv2.resize(image.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
        if rows > image.shape[0] or columns > image.shape[1]:
            row_weight, column_weight = _weight_inside(image.shape[0], rows), _weight_inside(image.shape[1], columns)
            resized *= row_weight[:, None, None] * column_weight[:, None]
            resized = np.maximum(resized, image.min())  # scikit-image clips to the range of its input.
        fitted = np.zeros((size, size, 3), np.uint8)
        fitted[top : top + rows, left : left + columns] = np.rint(resized)
        return fitted

    def resize_mask(self, mask: np.ndarray, size: int) -> np.ndarray:
        rows, columns, top, left = _fitted_box(*mask.shape, size)
        fitted = np.zeros((size, size), bool)
        fitted[top : top + rows, left : left + columns] = grow_mask(mask, rows, columns)
        return fitted

    def restore_bands(
        self, values: np.ndarray, height: int, width: int, border: str = "edge"
    ) -> Iterator[tuple[slice, np.ndarray]]:
        side, window = _covering_window(height, width)
        return bilinear_bands(values, side, side, border, window)

    def restore_mask(self, mask: np.ndarray, height: int, width: int) -> np.ndarray:
        side, window = _covering_window(height, width)
        return grow_mask(mask, side, side, window)


class Stretch(Resizing):
    """Stretched to the square, whatever the aspect ratio.

    Pictures are resized by Pillow's bilinear filter, which averages where it shrinks: first along the rows, then along
    the columns, because the order within one call depends on Pillow's version. Masks take the nearest pixel.

    Source: `Resize` in `transforms.py` of naver-ai/maskris (commit 01b54d5).
    """

    description = "stretched to {size} x {size} pixels"

    def resize_image(self, image: np.ndarray, size: int) -> np.ndarray:
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image))
        for shape in ((size, picture.height), (size, size)):
            picture = picture.resize(shape, Image.Resampling.BILINEAR)
        return np.asarray(picture)

    def resize_mask(self, mask: np.ndarray, size: int) -> np.ndarray:
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
        return np.asarray(picture.resize((size, size), Image.Resampling.NEAREST)) > 0

    def restore_bands(
        self, values: np.ndarray, height: int, width: int, border: str = "edge"
    ) -> Iterator[tuple[slice, np.ndarray]]:
        return bilinear_bands(values, height, width, border)

    def restore_mask(self, mask: np.ndarray, height: int, width: int) -> np.ndarray:
        return grow_mask(mask, height, width)


class Letterboxed(Fit):
    """As `Fit`, but OpenCV's area resampling, on the mean color of ImageNet: the models of boxes.

    Masks and maps lie where those of `Fit` do.

    Source: the loader of SijieSong/CVPR21-Cogrounding_semantic_attention (commit 7b0630a).
    """

    description = "scaled to {size} pixels on their longer side by averaging and centred on ImageNet's mean color"

    def resize_image(self, image: np.ndarray, size: int) -> np.ndarray:
        import cv2

        place = Letterbox.of(*image.shape[:2], size)
        fitted = np.empty((size, size, 3), np.uint8)
        fitted[:] = LETTERBOX_COLOR
        resized = cv2.resize(image, (place.columns, place.rows), interpolation=cv2.INTER_AREA)
        fitted[place.top : size - place.bottom, place.left : size - place.right] = resized
        return fitted


class Unchanged(Stretch):
    """Pictures keep their size: the model scales them itself. Maps and masks have the size of the picture too."""

    description = "scaled by the model"

    def resize_image(self, image: np.ndarray, size: int) -> np.ndarray:
        return image

    def resize_mask(self, mask: np.ndarray, size: int) -> np.ndarray:
        return mask


RESIZINGS = {"fit": Fit(), "stretch": Stretch(), "letterbox": Letterboxed(), "none": Unchanged()}


def _fitted_box(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Rows and columns of a picture fitted into a square, and the rows above and columns left of it."""
    scale = min(size / height, size / width)
    rows, columns = (max(1, int(np.round(side * scale))) for side in (height, width))
    return rows, columns, (size - rows) // 2, (size - columns) // 2


def _covering_window(height: int, width: int) -> tuple[int, tuple[slice, slice]]:
    """Side of the smallest square that covers a picture, and the picture's window in its centre."""
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return side, (slice(top, top + height), slice(left, left + width))


def _weight_inside(source: int, target: int) -> np.ndarray:
    """For each output position the share of its neighbours that lies inside the input: float32 `(target,)`."""
    lower, share = source_positions(source, target)
    return np.where(lower == 0, share, np.where(lower == source, 1 - share, 1)).astype(np.float32)
