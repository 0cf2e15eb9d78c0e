"""An HTML page of pictures with their scores."""

import dataclasses
import html
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from cmpc_tf2.data.image_files import write_image
from cmpc_tf2.reports.pages import paragraph, sortable, write_page

_FIGURE = """<figure data-iou="{iou:.6f}" data-index="{index}" data-expression="{expression}">
<a href="{file}"><img loading="lazy" src="{file}" alt="Sample {index}"></a>
<figcaption>{index}: {expression}, IoU {iou:.3f}</figcaption></figure>"""


@dataclasses.dataclass(frozen=True)
class GalleryEntry:
    """A picture of the page.

    Attributes:
        index: Its number in the split.
        file: Its path from the page's folder.
        expression: The expression.
        iou: IoU of its mask, 0 to 1.
    """

    index: int
    file: str
    expression: str
    iou: float


def write_gallery(path: Path, title: str, entries: list[GalleryEntry]):
    """Writes the page, worst first; it can be sorted otherwise without a server."""
    summary = paragraph(f"{len(entries)} samples. White contour: ground truth.")
    orders = {"iou": "worst first", "-iou": "best first", "index": "as in the split"}
    figures = figures_of(sorted(entries, key=lambda entry: entry.iou))
    write_page(path, title, [summary, sortable(figures, orders)])


def figures_of(entries: Iterable[GalleryEntry]) -> list[str]:
    """The pictures as HTML."""
    return [
        _FIGURE.format(
            index=entry.index, file=quote(entry.file), expression=html.escape(entry.expression), iou=entry.iou
        )
        for entry in entries
    ]


class GalleryWriter:
    """Draws the samples of a split as they are scored, and lists them on a page.

    Args:
        folder: Folder for the pictures and `index.html`.
        task: Draws a sample.
    """

    def __init__(self, folder: Path, task):
        self._folder, self._task = folder, task
        self._entries: list[GalleryEntry] = []

    def add(self, index: int, sample, prediction, score: float):
        """Draws a scored sample; arguments as `on_prediction` of `evaluate`."""
        entry = GalleryEntry(index, f"{index}.png", sample.expression, score)
        drawn = self._task.draw(sample, prediction, score)
        write_image(self._folder / entry.file, drawn)
        self._entries.append(entry)

    def finish(self, title: str):
        """Writes the page."""
        write_gallery(self._folder / "index.html", title, self._entries)
