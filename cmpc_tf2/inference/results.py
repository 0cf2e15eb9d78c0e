"""A folder of results: `results.jsonl`, and for each picture an overlay and its masks."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cmpc_tf2.data.image_files import write_image
from cmpc_tf2.data.json_lines import read_json_lines
from cmpc_tf2.data.segmentations import coco_box, encode_run_lengths
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import read_bytes, read_json, write_bytes, write_json
from cmpc_tf2.inference.requests import Request
from cmpc_tf2.tasks.masks.drawing import draw_masks

RESULTS, SETTINGS = "results.jsonl", "settings.json"


class ResultsFolder:
    """Results of many pictures, written as they are made. What a killed run has finished is kept.

    The folder holds `results.jsonl`, with one object per picture and expression; `overlays/`, the pictures with their
    masks drawn in; `masks/`, as 0 and 255; and `settings.json`. The objects have the keys of COCO's results:
    `segmentation` (compressed run lengths), `bbox` (x, y, width, height in pixels; zeros if the mask is empty), `score`
    (mean probability of the mask's pixels); further `image`, `expression`, `size` (height, width), `area`,
    `overlay_file` and `mask_file` (in the folder), and the fields of the user's list.

    Args:
        folder: The folder; made with the first result if it does not exist.
        settings: Everything that decides the results, as JSON takes it.

    Attributes:
        path: `results.jsonl`.

    Raises:
        InputError: The folder holds something else, or results of other settings.
    """

    def __init__(self, folder: Path, settings: dict):
        self._folder, self._settings = folder, settings
        self.path = folder / RESULTS
        _check_settings(folder, settings)
        self._done, self._names = {}, set()  # Whether the mask of an image and an expression is empty; files.
        if self.path.exists():
            _drop_torn_line(self.path)
            for name, record in read_json_lines(self.path):
                if isinstance(record, InputError) or not {"image", "expression", "overlay_file", "mask_file"} <= set(
                    record
                ):
                    raise InputError(f"{self.path}, {name}: not a result of this command; give another --output")
                self._done[record["image"], record["expression"]] = record.get("area") == 0
                self._names |= {record["overlay_file"].casefold(), record["mask_file"].casefold()}

    def remaining(self, requests: Iterable[Request]) -> list[Request]:
        """The requests that have no result yet."""
        return [request for request in requests if (request.image, request.expression) not in self._done]

    def count_empty(self, requests: Iterable[Request]) -> int:
        """How many of the requests have an empty mask."""
        return sum(self._done.get((request.image, request.expression), False) for request in requests)

    def add(self, name: str, image: np.ndarray, results: list[tuple[Request, np.ndarray, float]]):
        """Writes the results of a picture: the files first, then the lines.

        Args:
            name: Name for its files, without suffix; it may have folders. A number is added if it is taken.
            image: The picture, uint8 RGB `(h, w, 3)`.
            results: For each expression the request, the mask, bool `(h, w)`, and its score.
        """
        if not (self._folder / SETTINGS).exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._folder / SETTINGS, self._settings)
        overlay = self._free_name("overlays", name)
        masks = [mask for _, mask, _ in results]
        self._write(overlay, draw_masks(image, masks, [request.expression for request, *_ in results]))
        lines = []
        for number, (request, mask, score) in enumerate(results, start=1):
            file = self._free_name("masks", name if len(results) == 1 else f"{name}_{number}")
            self._write(file, mask)
            files = {"overlay_file": overlay, "mask_file": file}
            found = {"image": request.image, **describe_mask(request.expression, mask, score)}
            lines.append(json.dumps({**request.fields, **found, **files}))
        with self.path.open("ab") as results_file:
            results_file.write("".join(f"{line}\n" for line in lines).encode())
        self._done |= {(request.image, request.expression): not mask.any() for request, mask, _ in results}

    def _write(self, file: str, image: np.ndarray):
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, image)

    def _free_name(self, folder: str, name: str) -> str:
        number, file = 1, f"{folder}/{name}.png"
        while file.casefold() in self._names:
            number += 1
            file = f"{folder}/{name}-{number}.png"
        self._names.add(file.casefold())
        return file


def describe_mask(expression: str, mask: np.ndarray, score: float) -> dict:
    """A mask, bool `(h, w)`, with the keys of COCO's results; `ResultsFolder` describes them."""
    return {
        "expression": expression,
        "size": list(mask.shape),
        "segmentation": encode_run_lengths(mask),
        "bbox": coco_box(mask),
        "area": int(np.count_nonzero(mask)),
        "score": round(score, 6),
    }


def picture_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Names for the files of pictures: their paths below the folder that all have in common, without suffix."""
    absolute = {path: Path(os.path.abspath(path)) for path in paths}
    root = os.path.commonpath([path.parent for path in absolute.values()])
    return {path: str(one.relative_to(root).with_suffix("").as_posix()) for path, one in absolute.items()}


def _check_settings(folder: Path, settings: dict):
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / SETTINGS).is_file():
        raise InputError(f"{folder}: holds other files; give the name of a new folder")
    earlier = read_json(folder / SETTINGS)
    if not isinstance(earlier, dict) or (changed := [key for key in settings if earlier.get(key) != settings[key]]):
        found = f"another {', '.join(changed)}" if isinstance(earlier, dict) else "other settings"
        raise InputError(f"{folder}: holds results of {found}; give the name of a new folder")


def _drop_torn_line(path: Path):
    """Removes a last line that a killed run has not finished."""
    content = read_bytes(path)
    if content and not content.endswith(b"\n"):
        write_bytes(path, content[: content.rfind(b"\n") + 1])
