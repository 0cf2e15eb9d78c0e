"""From the outputs of the models to boxes."""

import numpy as np
from scipy.special import expit, softmax

from cmpc_tf2.preprocessing.letterbox import Letterbox
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.boxes.prediction import BoxPrediction
from cogrounding_tf2.config import ANCHORS, ANCHORS_SIZE, IMAGE_SIZE
from cogrounding_tf2.models.proposals import PROPOSALS


def decode_boxes(box_logits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The boxes of some proposals.

    Args:
        box_logits: x, y, w, h and confidence of the proposals, float32 `(4032, 5)`.
        chosen: Numbers of proposals, `(K,)`.

    Returns:
        x1, y1, x2, y2 in pixels of the square, float32 `(K, 4)`.
    """
    x, y, w, h = np.float32(box_logits[chosen, :4]).T
    found = {name: values[chosen] for name, values in PROPOSALS.items()}
    stride = np.float32(IMAGE_SIZE) / found["side"].astype(np.float32)
    # Anchors in cells, then in pixels, as the original computes them.
    anchors = np.float32(ANCHORS)[found["anchor"]].T / (np.float32(ANCHORS_SIZE) / found["side"].astype(np.float32))
    centre = np.stack([expit(x) + found["column"], expit(y) + found["row"]]) * stride
    half = np.stack([np.exp(w), np.exp(h)]) * anchors * stride / 2
    return np.concatenate([centre - half, centre + half]).T.astype(np.float32)


def ranked(box_logits: np.ndarray, count: int = 1) -> np.ndarray:
    """Numbers of the proposals with the highest confidences, the first of equals first: `(count,)`."""
    return np.argsort(-box_logits[:, 4], kind="stable")[:count]


def predict_box(box_logits: np.ndarray, size: tuple[int, int], preprocessing: Preprocessing) -> BoxPrediction:
    """The best box of a picture, within it. Its score is the softmax over the confidences of all proposals.

    Args:
        box_logits: As `decode_boxes`.
        size: Height and width of the picture.
        preprocessing: How it was fitted.
    """
    (best,) = ranked(box_logits)
    box = Letterbox.of(*size, preprocessing.size).restore_box(decode_boxes(box_logits, np.array([best])))[0]
    score = float(softmax(box_logits[:, 4].astype(np.float64))[best])
    return BoxPrediction(within(box, size), score, size, preprocessing)


def within(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A box whose corners are moved into a picture of a height and width."""
    height, width = size
    return np.clip(box, 0, np.float32([width, height, width, height]))
