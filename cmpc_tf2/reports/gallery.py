"""An HTML page of pictures with their scores, which needs no server."""

import dataclasses
import html
from pathlib import Path

import numpy as np

from cmpc_tf2.data.image_files import write_image
from cmpc_tf2.files import write_text

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; margin: 1rem; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }}
img {{ width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary} White contour: ground truth.
<label>Order <select id="order">
<option value="iou">worst first</option><option value="-iou">best first</option><option value="index">as in the split
</option></select></label></p>
<main>
{figures}
</main>
<script>
document.getElementById("order").onchange = event => {{
  const key = event.target.value.replace("-", ""), sign = event.target.value.startsWith("-") ? -1 : 1;
  const main = document.querySelector("main");
  const sorted = [...main.children].sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
  main.replaceChildren(...sorted);
}};
</script>
</body>
</html>
"""
_FIGURE = """<figure data-iou="{iou:.6f}" data-index="{index}">
<a href="{file}"><img loading="lazy" src="{file}" alt=""></a>
<figcaption>{index}: {expression}, IoU {iou:.3f}</figcaption></figure>"""


@dataclasses.dataclass(frozen=True)
class GalleryEntry:
    """A picture of the page.

    Attributes:
        index: Its number in the split.
        file: Its name in the page's folder.
        expression: The expression.
        iou: IoU of its mask, 0 to 1.
    """

    index: int
    file: str
    expression: str
    iou: float


def write_gallery(path: Path, title: str, entries: list[GalleryEntry]):
    """Writes the page, worst first; it can be sorted otherwise without a server."""
    figures = (
        _FIGURE.format(
            index=entry.index, file=html.escape(entry.file), expression=html.escape(entry.expression), iou=entry.iou
        )
        for entry in sorted(entries, key=lambda entry: entry.iou)
    )
    page = _PAGE.format(title=html.escape(title), summary=f"{len(entries)} samples.", figures="\n".join(figures))
    write_text(path, page)


class GalleryWriter:
    """Draws the samples of a split as they are scored, and lists them on a page.

    Args:
        folder: Folder for the pictures and `index.html`.
        task: Draws a sample.
    """

    def __init__(self, folder: Path, task):
        self._folder, self._task = folder, task
        self._entries: list[GalleryEntry] = []

    def add(self, index: int, sample, prediction: np.ndarray, score: float):
        """Draws a scored sample; arguments as `on_prediction` of `evaluate`."""
        entry = GalleryEntry(index, f"{index}.png", sample.expression, score)
        drawn = self._task.draw(sample.image, sample.expression, prediction, sample.mask, score)
        write_image(self._folder / entry.file, drawn)
        self._entries.append(entry)

    def finish(self, title: str):
        """Writes the page."""
        write_gallery(self._folder / "index.html", title, self._entries)
