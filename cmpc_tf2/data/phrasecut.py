"""What PhraseCut's own evaluation needs beyond the samples: its ground truth, pixel by pixel, and its subsets.

Source: `utils/subset.py`, `utils/data_transfer.py` and `utils/refvg_loader.py` of ChenyunWu/PhraseCutDataset (commit
276470b). That code has no license file, so its word lists are read from a copy of `subset.py` that the user has.
"""

import ast
import math
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotation_fields import checked, describe, field
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_json, read_text

_CODE = "github.com/ChenyunWu/PhraseCutDataset"
_DOWNLOADED = f"the downloader of {_CODE} gets it"
_COPIED = f"copy utils/subset.py of {_CODE} there"
# How many of the most frequent names the subsets of categories and attributes hold.
_CATEGORY_BOUNDS = (20, 100, 500)
_ATTRIBUTE_BOUNDS = (20, 100, 200)
# Shares of the picture below which a region is small, and above which it is large.
_SMALL, _LARGE = 0.02, 0.2
# Farther points and larger pictures are mistakes.
_FARTHEST = 10**6
_LONGEST_SIDE = 20_000


class PhraseCutSplit:
    """The tasks of a split of PhraseCut.

    Args:
        tasks: Entries of `refer_<split>.json`, checked, by task id.
        pictures: Entries of `image_data_split.json`, checked, by image id.
        ranks: For `cat` and `att`, the names and their ranks by frequency, from 0.
        words: The word lists of `subset.py` by name.
    """

    def __init__(self, tasks: dict[str, dict], pictures: dict[int, dict], ranks: dict[str, dict], words: dict):
        self.task_ids = list(tasks)
        self._tasks, self._pictures, self._ranks, self._words = tasks, pictures, ranks, words

    def size(self, task_id: str) -> tuple[int, int]:
        """Height and width of the picture of a task."""
        picture = self._pictures[self._tasks[task_id]["image_id"]]
        return picture["height"], picture["width"]

    def draw_mask(self, task_id: str, height: int, width: int) -> np.ndarray:
        """The ground truth of a task as PhraseCut's evaluator draws it, bool `(height, width)`.

        The pixels of the outline belong to it; COCO's way of drawing, that of the samples, leaves many of them out.

        Raises:
            InputError: The polygons have another form.
        """
        from PIL import Image, ImageDraw

        canvas = Image.new("L", (width, height))
        drawing = ImageDraw.Draw(canvas)
        with named(f"task {task_id}"):
            for instance in self._tasks[task_id]["Polygons"]:
                for polygon in checked(instance, list, "an instance in Polygons"):
                    points = _whole_points(polygon)
                    if len(points) > 1:
                        drawing.polygon(points, outline=1, fill=1)
        return np.array(canvas) > 0

    def subsets(self, task_id: str) -> dict[str, bool]:
        """The subsets of PhraseCut by name, and whether a task belongs to them. They overlap.

        As in the original, names of stuff count as parts of words, and a task without attributes is in `a200+`.
        """
        task = self._tasks[task_id]
        phrase, instances = task["phrase_structure"], len(task["instance_boxes"])
        name, attributes, relations = phrase["name"], phrase["attributes"], phrase["relation_descriptions"]
        category = self._ranks["cat"].get(name, math.inf)
        attribute = min((self._ranks["att"].get(one, math.inf) for one in attributes), default=math.inf)
        mask = self.draw_mask(task_id, *self.size(task_id))
        share = int(mask.sum()) / mask.size
        is_stuff = any(word in name for word in self._words["stuff_names"])
        is_coco_picture = bool(self._pictures[task["image_id"]].get("coco_id"))
        types = [one for one in self._words if one.startswith("att_")]
        return {
            "c_coco": name in self._words["coco"],
            **_by_rank("c", category, _CATEGORY_BOUNDS),
            "i_single": instances == 1,
            "i_multi": 1 < instances < 5,
            "i_many": instances >= 5,
            "p_name": phrase["type"] == "name",
            "p_att": len(attributes) > 0,
            "p_att+": phrase["type"] == "attribute",
            "p_rel": len(relations) > 0,
            "p_rel+": phrase["type"] == "relation",
            "p_verbose": phrase["type"] == "verbose",
            "p_attm": len(attributes) > 1,
            "p_relm": len(relations) > 1,
            "p_att_rel": len(attributes) > 0 and len(relations) > 0,
            "t_stuff": is_stuff,
            "t_obj": not is_stuff,
            "s_small": share < _SMALL,
            "s_mid": _SMALL <= share <= _LARGE,
            "s_large": share > _LARGE,
            **_by_rank("a", attribute, _ATTRIBUTE_BOUNDS),
            **{f"a_{one.removeprefix('att_')}": not set(attributes).isdisjoint(self._words[one]) for one in types},
            "d_cocotv": is_coco_picture,
            "d_notcocotv": not is_coco_picture,
        }


def _by_rank(letter: str, rank: float, bounds: tuple[int, int, int]) -> dict[str, bool]:
    """The subsets of the most frequent names, and of the ranges between them, for a rank from 0."""
    first, second, third = bounds
    return {
        **{f"{letter}{bound}": rank < bound for bound in bounds},
        f"{letter}{first + 1}-{second}": first <= rank < second,
        f"{letter}{second + 1}-{third}": second <= rank < third,
        f"{letter}{third}+": rank >= third,
    }


def _whole_points(polygon: object) -> list[tuple[int, int]]:
    """The points of a polygon without their fractions."""
    checked(polygon, list, "a polygon")
    try:
        points = np.array(polygon or np.empty((0, 2)), float)
    except (TypeError, ValueError, OverflowError):
        points = None
    if points is None or points.shape[1:] != (2,):
        raise InputError("expected lists of points [x, y] as polygons, found something else")
    if not (np.abs(points) < _FARTHEST).all():
        raise InputError("expected points in the picture, found one far outside")
    return [tuple(point) for point in points.astype(int).tolist()]


def read_phrasecut(folder: Path, split: str) -> PhraseCutSplit:
    """Reads the tasks of a split, with what their subsets depend on.

    Args:
        folder: Holds `refer_<split>.json`, `image_data_split.json`, `name_att_rel_count.json`, and a copy of
            `subset.py`.
        split: The split.

    Raises:
        InputError: A file is missing or of another form.
    """
    words, ranks = _read_words(folder / "subset.py"), _read_ranks(folder / "name_att_rel_count.json")
    pictures = _read_pictures(folder / "image_data_split.json")
    path = folder / f"refer_{split}.json"
    content, tasks = read_json(path, _DOWNLOADED), {}
    with named(f"{path}: not annotations in the form of PhraseCut"):
        for number, entry in enumerate(checked(content, list, "the file")):
            with named(f"entry {number}"):
                task_id = field(checked(entry, dict, "a task"), "task_id", str)
                tasks[task_id] = _checked_task(entry)
                if entry["image_id"] not in pictures:
                    raise InputError(f"image {entry['image_id']} is not in image_data_split.json")
    return PhraseCutSplit(tasks, pictures, ranks, words)


def _checked_task(task: dict) -> dict:
    field(task, "image_id", int)
    field(task, "Polygons", list)
    field(task, "instance_boxes", list)
    phrase = field(task, "phrase_structure", dict)
    for name in ("name", "type"):
        field(phrase, name, str)
    field(phrase, "relation_descriptions", list)
    for attribute in field(phrase, "attributes", list):
        checked(attribute, str, "an attribute")
    return task


def _read_pictures(path: Path) -> dict[int, dict]:
    content, pictures = read_json(path, _DOWNLOADED), {}
    with named(f"{path}: not the pictures of PhraseCut"):
        for number, entry in enumerate(checked(content, list, "the file")):
            with named(f"entry {number}"):
                pictures[field(checked(entry, dict, "a picture"), "image_id", int)] = entry
                for side in ("height", "width"):
                    if not 1 <= field(entry, side, int) <= _LONGEST_SIDE:
                        raise InputError(f"expected {side} from 1 to {_LONGEST_SIDE}, found {entry[side]}")
    return pictures


def _read_ranks(path: Path) -> dict[str, dict[str, int]]:
    """For `cat` and `att`, the rank of each name by frequency, from 0. The files list them most frequent first."""
    content, ranks = read_json(path, _DOWNLOADED), {}
    with named(f"{path}: not the frequencies of PhraseCut"):
        for key in ("cat", "att"):
            ranks[key] = {}
            for rank, pair in enumerate(field(checked(content, dict, "the file"), key, list)):
                if not isinstance(pair, list) or not pair:
                    raise InputError(f"expected pairs of a name and a count in {key}, found {describe(pair)}")
                ranks[key].setdefault(checked(pair[0], str, f"a name in {key}"), rank)
    return ranks


def _read_words(path: Path) -> dict[str, list[str]]:
    """The lists of texts that a Python file assigns to names. The code is not run."""
    text, lists = read_text(path, _COPIED), {}
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"{path}: not Python code; {_COPIED}") from None
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=elements)):
                values = [element.value for element in elements if isinstance(element, ast.Constant)]
                if len(values) == len(elements) and all(isinstance(value, str) for value in values):
                    lists[name] = values
    for name in ("stuff_names", "coco", "att_color"):
        if name not in lists:
            raise InputError(f"{path}: expected a list of texts named {name}, found none; {_COPIED}")
    return lists
