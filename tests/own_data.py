"""Annotations of the user's own, written by the tests in every form."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from cmpc_tf2.data.annotations import read_plain_pickle
from refer_layout import POLYGON, WORDS

SIZE = (40, 60)


def write_rows(path: Path, rows: list[dict]) -> Path:
    """Writes rows as JSON Lines or, by the name of the file, as CSV."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: v if isinstance(v, (str, int)) else json.dumps(v) for key, v in row.items()})
    return path


def make_pictures(root: Path, count: int = 2) -> list[str]:
    """Writes pictures of 40 x 60 pixels below `root/photos` and a vocabulary; returns the options of the builder."""
    (root / "photos").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, size=(*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "photos" / f"{number}.png")
    (root / "words.txt").write_text("\n".join(WORDS) + "\n")
    return [
        "--image-root", str(root / "photos"), "--vocabulary", str(root / "words.txt"),
        "--output-root", str(root), "-d", "mine", "-t", "val",
    ]  # fmt: skip


def row(expression: str = "man", image: str = "0.png", **more) -> dict:
    """A row with a polygon, or with the mask that is given."""
    has_mask = {"mask", "polygons", "segmentation"} & more.keys()
    return {"image": image, "expression": expression, **({} if has_mask else {"polygons": POLYGON}), **more}


def real_rows(refer_mini: Path, folder: str, refs_file: str) -> list[dict]:
    """The references of real data in REFER's layout as rows, in the order of their ids."""
    refs = read_plain_pickle(refer_mini / folder / refs_file)
    annotations = json.loads((refer_mini / folder / "instances.json").read_text())["annotations"]
    segmentations = {annotation["id"]: annotation["segmentation"] for annotation in annotations}
    return [
        {
            "image": f"COCO_train2014_{ref['image_id']:012d}.jpg",
            "expression": sentence["sent"],
            "segmentation": segmentations[ref["ann_id"]],
            "split": ref["split"],
        }
        for ref in sorted(refs, key=lambda ref: ref["ref_id"])
        for sentence in ref["sentences"]
    ]
