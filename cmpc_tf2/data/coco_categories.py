"""Categories of annotated objects: their names, and the class indices that models have for them."""

from cmpc_tf2.data.shapes import KINDS

BACKGROUND = "__background__"
# By COCO's ids, which have gaps.
COCO_CATEGORIES = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
    10: "traffic light",
    11: "fire hydrant",
    13: "stop sign",
    14: "parking meter",
    15: "bench",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
    20: "sheep",
    21: "cow",
    22: "elephant",
    23: "bear",
    24: "zebra",
    25: "giraffe",
    27: "backpack",
    28: "umbrella",
    31: "handbag",
    32: "tie",
    33: "suitcase",
    34: "frisbee",
    35: "skis",
    36: "snowboard",
    37: "sports ball",
    38: "kite",
    39: "baseball bat",
    40: "baseball glove",
    41: "skateboard",
    42: "surfboard",
    43: "tennis racket",
    44: "bottle",
    46: "wine glass",
    47: "cup",
    48: "fork",
    49: "knife",
    50: "spoon",
    51: "bowl",
    52: "banana",
    53: "apple",
    54: "sandwich",
    55: "orange",
    56: "broccoli",
    57: "carrot",
    58: "hot dog",
    59: "pizza",
    60: "donut",
    61: "cake",
    62: "chair",
    63: "couch",
    64: "potted plant",
    65: "bed",
    67: "dining table",
    70: "toilet",
    72: "tv",
    73: "laptop",
    74: "mouse",
    75: "remote",
    76: "keyboard",
    77: "cell phone",
    78: "microwave",
    79: "oven",
    80: "toaster",
    81: "sink",
    82: "refrigerator",
    84: "book",
    85: "clock",
    86: "vase",
    87: "scissors",
    88: "teddy bear",
    89: "hair drier",
    90: "toothbrush",
}
SHAPES_CATEGORIES = dict(enumerate(KINDS, start=1))


def class_indices(dataset: str) -> dict[int, int]:
    """The class index of each category, from 1 in the order of their ids, by id.

    Args:
        dataset: Name of the data set.
    """
    return {number: index for index, number in enumerate(sorted(_categories(dataset)), start=1)}


def category_names(dataset: str) -> tuple[str, ...]:
    """The names of the categories by class index; the first is that of the background.

    Args:
        dataset: Name of the data set.
    """
    categories = _categories(dataset)
    return (BACKGROUND, *(categories[number] for number in sorted(categories)))


def class_names(count: int) -> list[str]:
    """Names of as many classes: COCO's if it has as many, otherwise numbers."""
    names = list(COCO_CATEGORIES.values())
    return names if len(names) == count else [f"class {number}" for number in range(1, count + 1)]


def _categories(dataset: str) -> dict[int, str]:
    return SHAPES_CATEGORIES if dataset == "shapes" else COCO_CATEGORIES
