"""The HTML page of a comparison, and the pictures next to it."""

import html
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np

from cmpc_tf2.data.batches import Sample
from cmpc_tf2.data.image_files import write_image
from cmpc_tf2.reports.comparison import MEASURE_TITLE, WINS_NOTE, titles_of
from cmpc_tf2.reports.evaluation_page import (
    describe_intervals,
    in_percent,
    percent_cell,
    score_plot,
    score_table,
)
from cmpc_tf2.reports.pages import definitions, pair, paragraph, section, sortable, table, write_page
from cmpc_tf2.reports.plots import dot_plot
from cmpc_tf2.reports.report import flat_scores
from cmpc_tf2.tasks.drawing import color_of
from cmpc_tf2.tasks.masks.drawing import draw_layer
from cmpc_tf2.tasks.masks.task import MaskTask

TRUTH = "truth"
# As in overlays of `evaluate`.
_TRUTH_COLOR = (255, 255, 255)
_MODEL_COLOR = color_of(0)


def pictures_folder(page: Path) -> Path:
    """The folder for the pictures of a page."""
    return page.with_name(f"{page.stem}_files")


class PictureWriter:
    """Writes pictures, and masks as transparent pictures to lay over them.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path):
        os.makedirs(folder, exist_ok=True)
        self._folder, self._written = folder, set()

    def add(self, label: str, index: int, sample: Sample, mask: np.ndarray, _):
        """Writes the mask of a model; the picture and the ground truth of a sample are written only once.

        Args:
            label: Short name of the model.
            index, sample, mask, _: As `on_prediction` of `evaluate`.
        """
        self._write(f"{sample.digest}.jpg", lambda: sample.image)
        self._write(f"{index}_{TRUTH}.png", lambda: draw_layer(sample.mask, _TRUTH_COLOR))
        self._write(f"{index}_{label}.png", lambda: draw_layer(mask, _MODEL_COLOR))

    def _write(self, name: str, draw: Callable[[], np.ndarray]):
        if name not in self._written:
            write_image(self._folder / name, draw())
            self._written.add(name)


def write_comparison_page(path: Path, comparison: dict, folder: Path | None):
    """Writes the page.

    Args:
        path: The file.
        comparison: From `compare_reports`.
        folder: Folder of the pictures next to it, if there are any.
    """
    models = comparison["models"]
    titles = titles_of(comparison)
    scores = {model["label"]: model for model in models}
    differences = _by_title(comparison["differences"], models)
    parts = [
        definitions(
            {model["label"]: f"{model['model']} (protocol of its own: {model['protocol']})" for model in models}
            | {"compared": MEASURE_TITLE}
            | {"samples": f"{comparison['samples']} of {comparison['bootstrap']['pictures']} pictures"}
            | {"intervals": describe_intervals(comparison["bootstrap"]) + "; the same resamples for all models"}
        ),
        section(
            "Scores",
            paragraph(MaskTask.scores_note, note=True),
            pair(score_table("Scores", "In percent", titles, scores), score_plot(titles, scores)),
        ),
        section(
            "Differences",
            paragraph("A difference whose interval does not contain 0 is unlikely to be one of chance.", note=True),
            pair(
                score_table("Differences", "In percentage points", titles, differences, sign="+"),
                score_plot(titles, differences, unit="percentage points"),
            ),
        ),
        *_groups(comparison),
        section("Samples", _gallery(comparison, folder and folder.name)),
    ]
    write_page(path, f"{comparison['dataset']} {comparison['split']}: comparison", parts)


def _by_title(differences: list[dict], models: list[dict]) -> dict[str, dict]:
    """Differences by what is subtracted from what."""
    first, *others = (model["label"] for model in models)
    return {f"{other} - {first}": entry for other, entry in zip(others, differences, strict=True)}


def _groups(comparison: dict) -> list[str]:
    """Overall IoU, its difference, and wins, losses and ties of each group."""
    models = comparison["models"]
    labels, titles = [model["label"] for model in models], list(_by_title(comparison["differences"], models))
    heads = ["group", "samples", *labels, *titles, *(f"{label}: wins, losses, ties" for label in labels[1:])]
    sections = []
    whole = {"all samples": {**comparison, "pictures": comparison["bootstrap"]["pictures"]}}
    for criterion in comparison["groups"].values():
        rows, series = [], {title: [] for title in titles}
        for name, group in (whole | criterion["groups"]).items():
            scores = [percent_cell(*flat_scores(entry)[0]) for entry in group["models"]]
            changes = [flat_scores(entry)[0] for entry in group["differences"]]
            counts = [f"{one['wins']}, {one['losses']}, {one['ties']}" for one in group["differences"]]
            rows.append([name, str(group["samples"]), *scores, *(percent_cell(*one, "+") for one in changes), *counts])
            for title, change in zip(titles, changes, strict=True):
                series[title].append(in_percent(*change))
        plot_title = f"Difference of the overall IoU by group: {criterion['title']}"
        plot = dot_plot(plot_title, "difference of the overall IoU, points", [row[0] for row in rows], series)
        title = criterion["title"]
        sections.append(section(title, pair(table(title, "Overall IoU in percent", heads, rows), plot)))
    return [*sections, paragraph(WINS_NOTE, note=True)]


def _gallery(comparison: dict, folder: str | None) -> str:
    labels = [model["label"] for model in comparison["models"]]
    orders = {}
    for number, label in enumerate(labels[1:], start=1):
        orders[f"-d{number}"] = f"{label} better than {labels[0]} first"
        orders[f"d{number}"] = f"{label} worse than {labels[0]} first"
    orders |= {"index": "as in the split"}
    records = sorted(comparison["per_sample"], key=lambda record: record["iou"][0] - record["iou"][1])
    return sortable((_figure(record, labels, folder) for record in records), orders, wide=folder is not None)


def _figure(record: dict, labels: list[str], folder: str | None) -> str:
    """A sample: picture, ground truth and the mask of each model, if there are pictures, and the IoU of each."""
    first, *others = record["iou"]
    data = "".join(f' data-d{number}="{iou - first:.6f}"' for number, iou in enumerate(others, start=1))
    expression, views = html.escape(record["expression"]), ""
    scores = [f"{label} {iou:.3f}" for label, iou in zip(labels, record["iou"], strict=True)]
    if folder is not None:
        layers = [("picture", None), ("ground truth", TRUTH), *zip(scores, labels, strict=True)]
        views = "".join(_view(record, folder, caption, layer) for caption, layer in layers)
        views = f'<div class="views">{views}</div>\n'
    caption = f"<strong>{expression}</strong> <small>sample {record['index']}; IoU {', '.join(scores)}</small>"
    return (
        f'<figure data-index="{record["index"]}"{data} data-expression="{expression}">\n'
        f"<figcaption>{caption}</figcaption>\n{views}</figure>"
    )


def _view(record: dict, folder: str, caption: str, layer: str | None) -> str:
    """The picture of a sample under a mask."""
    height, width = record["size"]
    names = [f"{record['picture']}.jpg", *([f"{record['index']}_{layer}.png"] if layer else [])]
    images = "".join(
        f'<img loading="lazy" src="{quote(folder)}/{name}" width="{width}" height="{height}" alt="">' for name in names
    )
    return f'<figure><div class="stack">{images}</div><figcaption>{html.escape(caption)}</figcaption></figure>'
