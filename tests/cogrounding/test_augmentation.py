"""Augmentation with the original's random numbers, against the original."""

import random

import numpy as np
import pytest

from cmpc_tf2.preprocessing.letterbox import Letterbox
from cmpc_tf2.text.grounding import GroundingTokenizer
from cogrounding_tf2.data.augmentation import augment, augment_clip, draws_of, move, swap_sides
from original import GOLDEN

# OpenCV 5 differs from 4.1.2, which made the numbers, by up to three levels.
LEVELS = 3


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "cogrounding" / "cogrounding_data.npz"))


@pytest.fixture(scope="module")
def tokenizer(golden):
    return GroundingTokenizer(golden["words"].tolist(), 12)


def corners(box_xywh) -> np.ndarray:
    x, y, width, height = box_xywh
    return np.array([x, y, x + width, y + height])


@pytest.mark.parametrize("seed", range(10))
def test_pictures(seed, golden, tokenizer, parity):
    expected = {name: golden[f"augmented/{seed}/{name}"] for name in ("image", "words", "box", "matrix", "draws")}
    number = int(golden[f"augmented/{seed}/picture"])
    draws = iter(expected["draws"].tolist())
    box = corners(golden[f"box_xywh/{number}"])
    found = augment(golden[f"picture/{number}"], box, str(golden["phrases"][number]), 64, draws)
    assert next(draws, None) is None
    parity.within("SL-Att.: matrices of augmentation", found.matrix, expected["matrix"], 1e-5)
    parity.within("SL-Att.: augmented boxes", found.boxes, expected["box"], 1e-5)
    parity.within("SL-Att.: augmented pictures, in levels", found.images.astype(int), expected["image"], LEVELS)
    assert tokenizer.encode(found.expression)["token_ids"].tolist() == expected["words"].tolist()


def test_the_pictures_are_near_everywhere(golden):
    """Three levels on a sixth of the values at most."""
    for seed in range(10):
        number = int(golden[f"augmented/{seed}/picture"])
        draws = iter(golden[f"augmented/{seed}/draws"].tolist())
        found = augment(golden[f"picture/{number}"], corners(golden[f"box_xywh/{number}"]), "a", 64, draws)
        assert (found.images != golden[f"augmented/{seed}/image"]).mean() < 0.2


@pytest.mark.parametrize("seed", range(3))
def test_a_turned_picture_is_not_mirrored_twice(seed, golden):
    """The draws matter: with others, pictures are far off."""
    draws = [1 - draw for draw in golden[f"augmented/{seed}/draws"]]
    found = augment(golden[f"picture/{seed}"], corners(golden[f"box_xywh/{seed}"]), "a", 64, iter(draws))
    assert np.abs(found.images.astype(int) - golden[f"augmented/{seed}/image"]).max() > 10 * LEVELS


def test_draws_of_a_generator(golden):
    expected = golden["augmented/0/draws"].tolist()
    draws = draws_of(random.Random(0))
    assert [next(draws) for _ in range(9)] == expected


def test_sides_are_swapped_within_words_too():
    assert swap_sides("left of the upright cat, leftmost right") == "right of the upleft cat, rightmost left"


def test_boxes_shrink_with_the_angle_and_stay_in_the_square():
    image = np.zeros((64, 64, 3), np.uint8)
    _, box, matrix = move(image, np.array([10, 20, 30, 50]), iter([0.5] * 6))
    np.testing.assert_allclose(matrix, np.eye(3), atol=1e-12)
    assert box.tolist() == [10, 20, 30, 50]
    moved, box, _ = move(image, np.array([0, 0, 64, 64]), iter([1.0, 1.0, 0.5, 0.5, 0.5, 0.5]))
    assert box.tolist() == [0, 0, 64, 64] and moved.shape == (64, 64, 3)
    # Turned by 5 degrees about the centre: the bounding box grows, then shrinks by the root of the cosine.
    _, box, _ = move(image, np.array([22, 22, 42, 42]), iter([1.0, 0.5, 0.5, 0.5, 0.5, 0.5]))
    side = 20 * (np.cos(np.radians(5)) + np.sin(np.radians(5))) * np.sqrt(np.cos(np.radians(5)))
    np.testing.assert_allclose(box[2:] - box[:2], side)


def test_boxes_are_truncated_before_they_are_mirrored():
    image = np.zeros((64, 64, 3), np.uint8)
    found = augment(image, np.array([10.7, 20.2, 30.9, 50.1]), "Left", 64, iter([0.6, *[0.5] * 8]))
    assert found.boxes.tolist() == [33, 20, 53, 49] and found.expression == "right"


def letterboxed_boxes(matrices, boxes, draws) -> np.ndarray:
    """The boxes of a clip's frames before the affine maps; they must have been whole numbers."""
    found = []
    for frame, (matrix, box) in enumerate(zip(matrices, boxes, strict=True)):
        angle = np.radians(5 * (2 * draws[1 + 2 * len(boxes) + 6 * frame] - 1))
        share = np.sqrt(max(abs(np.sin(angle)), abs(np.cos(angle))))
        centre = np.linalg.solve(matrix, [*(box[:2] + box[2:]) / 2, 1])[:2]
        half = np.linalg.solve(np.abs(matrix[:2, :2]), (box[2:] - box[:2]) / 2 / share)
        found.append(np.concatenate([centre - half, centre + half]))
    np.testing.assert_allclose(found, np.round(found), atol=1e-4)
    return np.round(found)


def clip_item(golden, expected):
    """Frames of an item, boxes that are annotated there, and its sentence: the numbers do not hold the boxes."""
    videos = [[golden[f"clip/{clip}/{number}"] for number in range(count)] for clip, count in ((0, 4), (1, 3))]
    item = int(expected["item"])
    video, number = (videos[0], item) if item < 4 else (videos[1], item - 4)
    frames = [video[max(number - 1, 0)], video[number]]
    height, width = frames[0].shape[:2]
    place = Letterbox.of(height, width, 64)
    boxes = letterboxed_boxes(expected["matrices"], expected["boxes"], expected["draws"])
    boxes = np.ceil((boxes - (place.dw, place.dh, place.dw, place.dh)) / place.ratio).astype(int)
    if expected["draws"][0] > 0.5:
        boxes[:, 0], boxes[:, 2] = width - boxes[:, 2] - 1, width - boxes[:, 0] - 1
    return frames, boxes, "the cat looking left." if item < 4 else "Green eye of a cat"


@pytest.mark.parametrize("seed", range(3))
def test_clips(seed, golden, tokenizer, parity):
    names = ("images", "words", "boxes", "matrices", "draws", "item")
    expected = {name: golden[f"augmented_clip/{seed}/{name}"] for name in names}
    frames, boxes, sentence = clip_item(golden, expected)
    draws = iter(expected["draws"].tolist())
    found = augment_clip(frames, boxes, sentence, 64, draws)
    assert next(draws, None) is None
    parity.within("CG-SL-Att.: matrices of augmentation", found.matrix, expected["matrices"], 1e-5)
    parity.within("CG-SL-Att.: augmented boxes", found.boxes, expected["boxes"], 1e-5)
    parity.within("CG-SL-Att.: augmented frames, in levels", found.images.astype(int), expected["images"], LEVELS)
    for words in expected["words"]:
        assert tokenizer.encode(found.expression)["token_ids"].tolist() == words.tolist()
