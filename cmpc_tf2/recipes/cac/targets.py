"""What a step of training compares predictions with: anchors and boxes, drawn at random, with labels.

Boxes are x1, y1, x2, y2 in pixels of the scaled picture, both corners included. Everything is NumPy: the random draws
depend on the generator alone.
"""

from typing import NamedTuple

import numpy as np

from cmpc_tf2.tasks.nearest import resize_nearest

# What offsets of boxes are divided by; the model multiplies its predictions by the same.
OFFSET_SCALES = np.float32([0.1, 0.1, 0.2, 0.2])
# Overlaps from which on an anchor is an object, and below which it is background.
OBJECT_OVERLAP, BACKGROUND_OVERLAP = 0.7, 0.3
# Anchors with a label, and the share of objects among them at most; the same of boxes.
ANCHORS, OBJECT_SHARE = 256, 0.5
BOXES, FOREGROUND_SHARE = 256, 0.25
# Overlap from which on a box is foreground.
FOREGROUND_OVERLAP = 0.5
# Pixels along a side of the mask of a box.
MASK_SIZE = 14


class Truth(NamedTuple):
    """The one object that a sentence refers to, in the scaled picture.

    Attributes:
        box: float32 `(4,)`.
        label: Its class, from 1.
        mask: uint8 `(H, W)`, 0 and 1.
    """

    box: np.ndarray
    label: int
    mask: np.ndarray


class AnchorTargets(NamedTuple):
    """The targets of the region proposal network.

    Attributes:
        labels: int8 `(N,)`: 1 for an object, 0 for the background, -1 for anchors that do not count.
        offsets: float32 `(N, 4)`; zero where the label is not 1.
    """

    labels: np.ndarray
    offsets: np.ndarray


class BoxTargets(NamedTuple):
    """The boxes that the heads are trained on. Those of the foreground come first.

    Attributes:
        boxes: float32 `(n, 4)`.
        labels: int32 `(n,)`, 0 for the background.
        offsets: float32 `(n, 4)`, divided by `OFFSET_SCALES`; they count for the foreground only.
        masks: float32 `(m, 14, 14)`, 0 and 1, of the m boxes of the foreground.
    """

    boxes: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    masks: np.ndarray


def scale_truth(box: np.ndarray, label: int, mask: np.ndarray, scale: float, scaled_size: tuple[int, int]) -> Truth:
    """An annotation in the scaled picture.

    Differs from the original: a side is one pixel long at least, so that the overlap with it is defined.

    Args:
        box: x, y, width and height in pixels of the picture, as COCO has them.
        label: Its class, from 1.
        mask: bool or uint8 `(h, w)`.
        scale: Pixels of the scaled picture per pixel of the picture.
        scaled_size: Height and width of the scaled picture.
    """
    x, y, width, height = np.asarray(box, np.float64)
    corners = np.array([x, y, max(x, x + width - 1), max(y, y + height - 1)]) * scale
    return Truth(corners.astype(np.float32), int(label), resize_nearest(mask, *scaled_size))


def overlaps(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes with one box, float64 `(n,)`. Sides count both corners."""
    boxes, box = np.asarray(boxes, np.float64), np.asarray(box, np.float64)
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]) + 1
    shared = np.maximum(sides, 0).prod(axis=1)
    return shared / ((boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) + (box[2:] - box[:2] + 1).prod() - shared)


def offsets_to(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The offsets by which boxes become one box, float32 `(n, 4)`: what `mask_rcnn_c4.boxes.decode` undoes.

    It undoes it up to one pixel: there, the corners of the result are one pixel too far apart, as in the original.
    """
    boxes, box = np.asarray(boxes, np.float64), np.asarray(box, np.float64)
    sides, target = boxes[:, 2:] - boxes[:, :2] + 1, box[2:] - box[:2] + 1
    shifts = (box[:2] + 0.5 * target - (boxes[:, :2] + 0.5 * sides)) / sides
    return np.concatenate([shifts, np.log(target / sides)], axis=1).astype(np.float32)


def draw_anchors(anchors: np.ndarray, truth: Truth, rng: np.random.Generator, count: int = ANCHORS) -> AnchorTargets:
    """Labels of anchors. Those that leave the picture have none.

    Background is what overlaps by less than 0.3, an object what overlaps by 0.7 or most of all. At most half of the
    `count` labels are objects; the surplus of either is drawn and loses its label.

    Source: `lib/layer_utils/anchor_target_layer.py` of lichengunc/mask-faster-rcnn (commit 45e2818).

    Args:
        anchors: float `(N, 4)`, in the order row, column, anchor, as predictions are.
        truth: The object.
        rng: Draws the surplus, first of objects and then of the background.
        count: Labels at most.
    """
    height, width = truth.mask.shape
    inside = (anchors[:, :2] >= 0).all(axis=1) & (anchors[:, 2] < width) & (anchors[:, 3] < height)
    labels = np.full(len(anchors), -1, np.int8)
    offsets = np.zeros((len(anchors), 4), np.float32)
    if not inside.any():
        return AnchorTargets(labels, offsets)
    found = np.where(inside, overlaps(anchors, truth.box), -1)
    labels[inside & (found < BACKGROUND_OVERLAP)] = 0
    labels[inside & ((found >= OBJECT_OVERLAP) | (found == found.max()))] = 1
    _drop_surplus(labels, 1, int(count * OBJECT_SHARE), rng)
    _drop_surplus(labels, 0, count - np.count_nonzero(labels == 1), rng)
    is_object = labels == 1
    offsets[is_object] = offsets_to(anchors[is_object], truth.box)
    return AnchorTargets(labels, offsets)


def _drop_surplus(labels: np.ndarray, label: int, most: int, rng: np.random.Generator):
    """Takes the label from as many anchors as have it above `most`."""
    found = np.flatnonzero(labels == label)
    if len(found) > most:
        labels[rng.choice(found, len(found) - most, replace=False)] = -1


def draw_boxes(proposals: np.ndarray, truth: Truth, rng: np.random.Generator, count: int = BOXES) -> BoxTargets:
    """Boxes for the heads: at most a quarter of them foreground, which overlaps by at least 0.5, the rest background.

    Boxes are drawn without repetition, unless there are too few. If none is foreground, the object's own box is one. If
    all are, all boxes are drawn from the foreground.

    Source: `lib/layer_utils/proposal_target_layer.py` of lichengunc/mask-faster-rcnn (commit 45e2818).

    Args:
        proposals: float `(n, 4)`.
        truth: The object.
        rng: Draws foreground first.
        count: Boxes to draw.
    """
    is_foreground = overlaps(proposals, truth.box) >= FOREGROUND_OVERLAP
    if not is_foreground.any():
        proposals = np.concatenate([proposals, truth.box[None].astype(proposals.dtype)])
        is_foreground = np.append(is_foreground, True)
    foreground, background = np.flatnonzero(is_foreground), np.flatnonzero(~is_foreground)
    wanted = min(round(FOREGROUND_SHARE * count), len(foreground)) if len(background) else count
    chosen = _draw(foreground, wanted, rng), _draw(background, count - wanted, rng)
    return box_targets(proposals[np.concatenate(chosen)].astype(np.float32), wanted, truth)


def _draw(numbers: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(numbers, count, replace=len(numbers) < count) if count else numbers[:0]


def box_targets(boxes: np.ndarray, foreground: int, truth: Truth) -> BoxTargets:
    """The targets of boxes.

    Args:
        boxes: float32 `(n, 4)`, those of the foreground first.
        foreground: Their number.
        truth: The object.
    """
    labels = np.zeros(len(boxes), np.int32)
    labels[:foreground] = truth.label
    offsets = (offsets_to(boxes, truth.box) / OFFSET_SCALES).astype(np.float32)
    masks = np.stack([crop_mask(truth.mask, box) for box in boxes[:foreground]])
    return BoxTargets(boxes, labels, offsets, masks.astype(np.float32))


def crop_mask(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The part of a mask in a box, whose corners are cut to whole pixels: uint8 `(14, 14)`, Pillow's nearest neighbour.

    Args:
        mask: uint8 `(H, W)`.
        box: `(4,)`, within the picture.
    """
    x1, y1, x2, y2 = (int(corner) for corner in box)
    # The last pixels of a picture that was made smaller may lie beyond the scaled one.
    y1, x1 = (min(first, side - 1) for first, side in zip((y1, x1), mask.shape, strict=True))
    return resize_nearest(mask[y1 : y2 + 1, x1 : x2 + 1], MASK_SIZE, MASK_SIZE)


class StepTargets(NamedTuple):
    """The targets of a step.

    Attributes:
        anchors: Those of the region proposal network.
        boxes: Those of the heads.
        response: The mask at the size of the feature map, float32 `(h, w)`, 0 and 1.
        covered: The cells of the feature map that the mask covers at least by half, as `response`.
    """

    anchors: AnchorTargets
    boxes: BoxTargets
    response: np.ndarray
    covered: np.ndarray


def draw_targets(
    anchors: np.ndarray,
    proposals: np.ndarray,
    map_size: tuple[int, int],
    truth: Truth,
    rng: np.random.Generator,
    counts: tuple[int, int] = (ANCHORS, BOXES),
) -> StepTargets:
    """The targets of a step; anchors are drawn first.

    Args:
        anchors: float `(N, 4)`, in the order row, column, anchor.
        proposals: float `(n, 4)`.
        map_size: Rows and columns of the feature map.
        truth: The object.
        rng: For all draws.
        counts: Anchors with a label at most, and boxes.
    """
    of_anchors = draw_anchors(anchors, truth, rng, counts[0])
    of_boxes = draw_boxes(proposals, truth, rng, counts[1])
    return StepTargets(
        of_anchors, of_boxes, response_target(truth.mask, *map_size), covered_cells(truth.mask, *map_size)
    )


def response_target(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask at the size of the feature map, float32 `(height, width)`, 0 and 1.

    A small object can vanish. Then the target is zero everywhere, as in the original.
    """
    return resize_nearest(mask, height, width).astype(np.float32)


def covered_cells(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The cells of a feature map that a mask covers at least by half: float32 `(height, width)`, 0 and 1.

    Cell i of a side is what lies from `floor(i n / height)` to `ceil((i + 1) n / height)`.
    """
    rows, columns = (_cell_bounds(side, cells) for side, cells in zip(mask.shape, (height, width), strict=True))
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask.astype(np.int64).cumsum(axis=0).cumsum(axis=1)
    strips = sums[rows[1]] - sums[rows[0]]
    counts = strips[:, columns[1]] - strips[:, columns[0]]
    sizes = np.outer(rows[1] - rows[0], columns[1] - columns[0])
    return (2 * counts >= sizes).astype(np.float32)


def _cell_bounds(length: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 of the positions of each cell along a side."""
    numbers = np.arange(cells)
    return numbers * length // cells, -(-(numbers + 1) * length // cells)
