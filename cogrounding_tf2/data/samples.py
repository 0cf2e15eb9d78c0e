"""The `.npz` files of boxes: picture files as they are, decoded when they are used.

So augmentation starts from the original pixels, and a split is as small as its pictures.
"""

import dataclasses
import functools
import io
from collections.abc import Iterator

import numpy as np

from cmpc_tf2.data.batches import digest_of, require_array
from cmpc_tf2.data.file_samples import EXPRESSION, FILE, TOKEN_IDS, FileSample, PictureSample, read_common
from cmpc_tf2.data.image_decoding import decode_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.preprocessing.letterbox import Letterbox
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cogrounding_tf2.data.augmentation import Augmented, augment, augment_clip
from cogrounding_tf2.data.truths import square_box

# Frames of a clip in a train split: the previous and the annotated one.
TRAIN_FRAMES = 2

_BOX = "box_batch"
_LENGTHS = "length_batch"
_ANNOTATED = "annotated"


class _Grounding:
    """What samples of boxes have in common."""

    builder = "python -m cogrounding_tf2 build_batches"

    def describe(self) -> dict:
        """As `Sample.describe`, of the annotated picture; `area` is that of the box."""
        x1, y1, x2, y2 = self.box
        size, area = list(self.image.shape[:2]), round((x2 - x1) * (y2 - y1))
        return {"expression": self.expression, "picture": self.digest, "size": size, "area": area}


@dataclasses.dataclass(frozen=True, eq=False)
class BoxSample(_Grounding, PictureSample):
    """One referring expression with its picture and box.

    Attributes:
        token_ids: int64 `(T,)`, right-padded with 0.
        file: Content of the picture file, uint8 `(n,)`.
        box: x1, y1, x2, y2 in pixels of the picture, as annotated: float64 `(4,)`. `truths.whole_pixels` gives what
            the original makes of it.
        expression: The sentence as it was given.
    """

    token_ids: np.ndarray
    file: np.ndarray
    box: np.ndarray
    expression: str

    contents = "pictures with boxes"
    keys = (TOKEN_IDS, FILE, _BOX, EXPRESSION)

    @staticmethod
    def target_shape(size: int) -> tuple[int, ...]:
        """Shape of `target`."""
        return (4,)

    def target(self, preprocessing: Preprocessing) -> np.ndarray:
        """The box in the square that the model sees, as the original's loader gives it: float32 `(4,)`."""
        return square_box(self.box, Letterbox.of(*self.image.shape[:2], preprocessing.size))

    def augmented(self, size: int, draws: Iterator[float]) -> Augmented:
        """The sample, changed at random as `augmentation.augment` does."""
        return augment(self.image, self.box, self.expression, size, draws)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the file by key."""
        return {
            TOKEN_IDS: self.token_ids.astype(np.int64),
            FILE: self.file,
            _BOX: self.box.astype(np.float64),
            EXPRESSION: np.array([self.expression]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "BoxSample":
        """The way back.

        Raises:
            InputError: An array has another type or shape; the message names its key.
        """
        box = arrays[_BOX]
        _require_boxes(box.shape == (4,), "float64 (4,)", box)
        return cls(**read_common(arrays), box=box)


@dataclasses.dataclass(frozen=True, eq=False)
class BoxClipSample(_Grounding, FileSample):
    """One referring expression with some frames around an annotated one, and the box in each of them.

    Attributes:
        token_ids: As `BoxSample`.
        file: Contents of the picture files, one after the other, uint8 `(n,)`.
        lengths: Bytes of each, int64 `(F,)`.
        boxes: The box in each frame, as `BoxSample.box`: float64 `(F, 4)`.
        annotated: Index of the annotated frame.
        expression: The sentence as it was given.
    """

    token_ids: np.ndarray
    file: np.ndarray
    lengths: np.ndarray
    boxes: np.ndarray
    annotated: int
    expression: str

    contents = "clips with boxes"
    keys = (TOKEN_IDS, FILE, _LENGTHS, _BOX, _ANNOTATED, EXPRESSION)
    input_name = "clip"

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """The frames: uint8 RGB `(F, h, w, 3)`.

        Raises:
            InputError: A file is damaged, or the frames have different sizes.
        """
        contents = np.split(self.file, np.cumsum(self.lengths)[:-1])
        frames = [decode_image(io.BytesIO(content), f"{FILE}, frame {n}") for n, content in enumerate(contents)]
        if len({frame.shape for frame in frames}) > 1:
            raise InputError(f"{FILE}: expected frames of one size, found {[frame.shape[:2] for frame in frames]}")
        return np.stack(frames)

    @property
    def image(self) -> np.ndarray:
        """The annotated frame: uint8 RGB `(h, w, 3)`."""
        return self.frames[self.annotated]

    @property
    def box(self) -> np.ndarray:
        """The box in the annotated frame: float64 `(4,)`."""
        return self.boxes[self.annotated]

    @property
    def pixels(self) -> np.ndarray:
        """All frames: uint8 `(F, h, w, 3)`."""
        return self.frames

    @property
    def digest(self) -> str:
        """Digest of the annotated frame, 16 hexadecimal digits: the same whatever frames are around it."""
        return digest_of(self.image)

    @staticmethod
    def input_shape(size: int) -> tuple[int, ...]:
        """As `BoxSample.input_shape`, for training."""
        return TRAIN_FRAMES, size, size, 3

    @staticmethod
    def target_shape(size: int) -> tuple[int, ...]:
        """Shape of `target`, for training."""
        return TRAIN_FRAMES, 4

    def target(self, preprocessing: Preprocessing) -> np.ndarray:
        """As `BoxSample.target`, in each frame: float32 `(F, 4)`."""
        return square_box(self.boxes, Letterbox.of(*self.image.shape[:2], preprocessing.size))

    def augmented(self, size: int, draws: Iterator[float]) -> Augmented:
        """The sample, changed at random as `augmentation.augment_clip` does."""
        return augment_clip(self.frames, self.boxes, self.expression, size, draws)

    def require_fit(self, preprocessing: Preprocessing):
        """Checks that the file holds as many frames as a model reads.

        Raises:
            InputError: It does not.
        """
        self._require_frames(len(preprocessing.frames))

    def require_train_fit(self, preprocessing: Preprocessing):
        """Checks that the file holds a pair of frames, which the model is trained on.

        Raises:
            InputError: It does not.
        """
        self._require_frames(TRAIN_FRAMES)

    def _require_frames(self, count: int):
        if len(self.lengths) != count:
            raise InputError(f"holds clips of {len(self.lengths)} frames, expected {count}")

    def fitted(self, preprocessing: Preprocessing) -> np.ndarray:
        """The fitted frames, before their values are normalised: uint8 RGB `(F, S, S, 3)`."""
        return np.stack([preprocessing.fit(frame) for frame in self.frames])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the file by key."""
        return {
            TOKEN_IDS: self.token_ids.astype(np.int64),
            FILE: self.file,
            _LENGTHS: self.lengths.astype(np.int64),
            _BOX: self.boxes.astype(np.float64),
            _ANNOTATED: np.array(self.annotated),
            EXPRESSION: np.array([self.expression]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "BoxClipSample":
        """As `BoxSample.from_arrays`."""
        common = read_common(arrays)
        size = common["file"].size
        lengths, boxes, annotated = arrays[_LENGTHS], arrays[_BOX], arrays[_ANNOTATED]
        is_split = lengths.ndim == 1 and lengths.size and lengths.dtype.kind in "iu" and lengths.min() > 0
        is_split = is_split and lengths.max() <= size and lengths.sum() == size
        require_array(is_split, _LENGTHS, f"above 0, {size} in all", lengths)
        _require_boxes(boxes.shape == (len(lengths), 4), f"float64 {(len(lengths), 4)}", boxes)
        is_index = annotated.shape == () and annotated.dtype.kind in "iu" and 0 <= annotated < len(lengths)
        require_array(is_index, _ANNOTATED, f"a whole number below {len(lengths)}", annotated)
        return cls(**common, lengths=lengths, boxes=boxes, annotated=int(annotated))


def _require_boxes(has_shape: bool, expected: str, boxes: np.ndarray):
    require_array(has_shape and boxes.dtype == np.float64, _BOX, expected, boxes)
    if not (np.isfinite(boxes).all() and (boxes[..., :2] < boxes[..., 2:]).all()):
        raise InputError(f"{_BOX}: expected x1 < x2 and y1 < y2, found {boxes.tolist()}")
