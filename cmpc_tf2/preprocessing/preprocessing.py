"""The preprocessing of a model: pictures to its inputs, and its maps back to the picture."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from cmpc_tf2.fields import FieldError
from cmpc_tf2.preprocessing.resizing import RESIZINGS

# Caffe's mean of ImageNet, in the order blue, green, red.
CAFFE_MEAN = (104.00698793, 116.66876762, 122.67891434)
CHOICES = {"resizing": tuple(RESIZINGS), "channels": ("bgr", "rgb")}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How pictures become inputs of a model. The defaults are those of CMPC and its ancestors.

    Attributes:
        size: Side of the square that the model sees, in pixels.
        resizing: `fit`: scaled to the largest size that fits the square, centred on black; `stretch`: stretched to it;
            `letterbox`: as `fit`, by area, centred on ImageNet's mean color; `none`: as it is, for models that scale
            pictures themselves.
        channels: Their order: `bgr` or `rgb`.
        mean: Subtracted from pixels of 0 to 255, per channel in that order.
        deviation: Divides the difference, per channel.
        frames: Indices of the frames of a clip that the model reads; None for models of pictures.

    Raises:
        FieldError: `resizing` or `channels` is something else.
    """

    size: int
    resizing: str = "fit"
    channels: str = "bgr"
    mean: tuple[float, float, float] = CAFFE_MEAN
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
    frames: tuple[int, ...] | None = None

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise FieldError(name, f"expected one of {', '.join(allowed)}, received {getattr(self, name)!r:.40}")
        for name in ("mean", "deviation"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))

    def to_dict(self) -> dict:
        """The preprocessing as JSON-ready data for model files; size and frames follow from the model's sizes."""
        fields = dataclasses.asdict(self)
        del fields["size"], fields["frames"]
        return {**fields, "mean": list(self.mean), "deviation": list(self.deviation)}

    def describe(self) -> str:
        """The preprocessing of pixel values, in words."""
        order = {"bgr": "blue first", "rgb": "red first"}[self.channels]
        mean, deviation = (", ".join(f"{value:.10g}" for value in values) for values in (self.mean, self.deviation))
        divided = "" if set(self.deviation) == {1.0} else f", divided by ({deviation})"
        return f"{order}, 0 to 255, minus the mean ({mean}){divided}"

    def describe_resizing(self) -> str:
        """What happens to a picture, in words."""
        return RESIZINGS[self.resizing].description.format(size=self.size)

    def fit(self, image: np.ndarray) -> np.ndarray:
        """A picture, uint8 `(h, w, 3)`, as the model sees it: uint8 `(S, S, 3)`."""
        return RESIZINGS[self.resizing].resize_image(image, self.size)

    def fit_mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask, bool `(h, w)`, fitted as its picture is: bool `(S, S)`."""
        return RESIZINGS[self.resizing].resize_mask(mask, self.size)

    def normalize(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Pixel values as inputs of the model.

        Args:
            image: uint8 RGB `(..., h, w, 3)`.
            out: Array for the result; None for a new one.

        Returns:
            float32 `(..., h, w, 3)`, channels in the model's order.
        """
        import cv2

        if out is None:
            out = np.empty(image.shape, np.float32)
        rows = (-1, *image.shape[-2:])
        pixels = image.reshape(rows)
        if self.channels == "bgr":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        # In one pass, ten times faster than NumPy. OpenCV's scalars have four values.
        cv2.subtract(pixels, (*self.mean, 0), dst=out.reshape(rows), dtype=cv2.CV_32F)
        if any(value != 1 for value in self.deviation):
            out /= np.array(self.deviation, np.float32)
        return out

    def restore(
        self, values: np.ndarray, height: int, width: int, border: str = "edge", dtype: type = np.float64
    ) -> np.ndarray:
        """A map of the fitted picture, float `(S, S)`, at the picture's own size: `dtype` `(height, width)`.

        Args:
            values: The map.
            height: Rows of the picture.
            width: Columns of the picture.
            border: Values outside the map: `edge` (the nearest pixel) or `constant` (zero).
            dtype: Type of the result, which is computed in float64.
        """
        return RESIZINGS[self.resizing].restore(values, height, width, border, dtype)

    def restore_bands(self, values: np.ndarray, height: int, width: int) -> Iterator[tuple[slice, np.ndarray]]:
        """As `restore`, a few rows at a time: the rows, and their values, float64 `(n, width)`."""
        return RESIZINGS[self.resizing].restore_bands(values, height, width)

    def restore_mask(self, mask: np.ndarray, height: int, width: int) -> np.ndarray:
        """A mask of the fitted picture, bool `(S, S)`, at the picture's own size: bool `(height, width)`.

        It grows by a rim: every pixel counts whose interpolated value is not zero.
        """
        return RESIZINGS[self.resizing].restore_mask(mask, height, width)
