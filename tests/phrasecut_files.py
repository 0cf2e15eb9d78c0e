"""A small PhraseCut: the files that its downloader gets, with word lists of our own."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 25
WORD_LISTS = """
from file_paths import some_path
stuff_names = ['sea', 'grass']
att_color = ['red', 'dark red']
att_shape = ['tall']
att_numbers = [1, 2]
att_ranks = count_info['att']
coco = ['bear',
        'cat']  # Eighty in the original.
raise SystemExit('this code is not run')
"""


def box(left: int, top: int, width: int, height: int) -> list[list[float]]:
    """A polygon of `width` x `height` pixels, with the outline; its points have fractions, which do not count."""
    right, bottom = left + width - 1, top + height - 1
    return [[left + 0.5, top], [right, top + 0.9], [right, bottom], [left, bottom]]


def task(number: int, polygons=None, name="bear", attributes=(), relations=(), kind="name", instances=1) -> dict:
    """An entry of `refer_<split>.json`. Without polygons: 10 x 10 pixels at (5, 5)."""
    structure = {"name": name, "attributes": list(attributes), "relation_descriptions": list(relations), "type": kind}
    return {
        "task_id": f"7__{number}",
        "image_id": 7,
        "phrase": "the red circle",
        "phrase_structure": structure,
        "instance_boxes": [[0, 0, 1, 1]] * instances,
        "Polygons": polygons or [[box(5, 5, 10, 10)]],
    }


def write_phrasecut(folder: Path, tasks: list[dict], split: str = "miniv", picture: dict | None = None) -> Path:
    """Writes the files; the picture 7 has noise. Returns the folder."""
    (folder / "images").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "images/7.jpg")
    names = {"cat": [[f"cat{n}", 900 - n] for n in range(600)], "att": [[f"att{n}", 900 - n] for n in range(300)]}
    pictures = [{"image_id": 7, "width": WIDTH, "height": HEIGHT, "coco_id": None, "split": split, **(picture or {})}]
    files = {f"refer_{split}.json": tasks, "name_att_rel_count.json": names, "image_data_split.json": pictures}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "subset.py").write_text(WORD_LISTS)
    return folder
