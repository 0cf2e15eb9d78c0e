"""The pages of evaluations and comparisons, as files and in headless Chromium."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from browsing import launched, needs_axe, run_axe
from cmpc_tf2.data.batches import Sample
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.reports.comparison import compare_reports
from cmpc_tf2.reports.comparison_page import PictureWriter, pictures_folder, write_comparison_page
from cmpc_tf2.reports.evaluation_page import write_evaluation_page
from conftest import PATIENCE
from made_reports import EXPRESSIONS, made_report, make_records

COUNT = 24


@pytest.fixture(scope="module")
def reports():
    rng = np.random.default_rng(0)
    fields = [
        {"scene": ("day", "<b>night</b> with a moon and many stars")[number % 2], "same_category": 1 + number % 5}
        for number in range(COUNT)
    ]
    return [
        made_report(make_records(rng.beta(2, 1, COUNT), np.arange(COUNT) // 3), fields, model=f"{name}.keras")
        for name in ("first", "second & last")
    ]


@pytest.fixture(scope="module")
def folder(reports, tmp_path_factory):
    """Pages with and without pictures."""
    folder = tmp_path_factory.mktemp("pages")
    write_evaluation_page(folder / "tables.html", reports[0], PICTURES.task, "plain")
    overlays = folder / "drawn ones"
    overlays.mkdir()
    rng = np.random.default_rng(1)
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (10, 20, 3), np.uint8)).save(overlays / f"{number}.png")
    write_evaluation_page(folder / "overlays.html", reports[0], PICTURES.task, "plain", overlays)
    comparison = compare_reports(reports)
    write_comparison_page(folder / "texts.html", comparison, None)
    path = folder / "comparison.html"
    writer = PictureWriter(pictures_folder(path))
    for label in "AB":
        for record in comparison["per_sample"]:
            picture = record["index"] // 3
            image = np.random.default_rng(picture).integers(0, 256, (10, 20, 3), np.uint8)
            mask = np.arange(20) < 3 + picture
            sample = Sample(np.zeros(20, np.int64), image, np.tile(mask, (10, 1)), record["expression"])
            record["picture"] = sample.digest
            writer.add(label, record["index"], sample, sample.mask, 0.5)
    write_comparison_page(path, comparison, pictures_folder(path))
    return folder


def test_exact_masks_are_not_called_the_originals(reports, tmp_path):
    exact = {**reports[0], "protocol": "exact masks, without the interpolated rim"}
    write_evaluation_page(tmp_path / "page.html", exact, PICTURES.task, "plain")
    page = html.unescape((tmp_path / "page.html").read_text())
    assert "Scored: exact protocol." in page and "original's protocol" not in page


class Outline(HTMLParser):
    """The tags that are open, the files that are named, and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.files, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        self.files += [value for name, value in attributes if name in ("src", "href")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", ["tables", "overlays", "texts", "comparison"])
def test_pages_are_whole_and_name_only_files_next_to_them(name, folder):
    outline = Outline()
    outline.feed((folder / f"{name}.html").read_text())
    assert not outline.open
    assert all((folder / file.replace("%20", " ")).is_file() for file in outline.files)
    assert bool(outline.files) == (name in ("overlays", "comparison"))
    assert "Overall IoU: sum of intersections over sum of unions" in outline.text
    if name in ("tables", "overlays"):
        assert "Scored: original's protocol." in outline.text and "predict's masks, own size" in outline.text
    else:
        assert "higher than A's by at least 0.01" in outline.text
    assert "<b>night</b> with a moon and many stars" in outline.text  # Escaped in the file.


def test_the_page_shows_the_scores_of_the_report(folder, reports):
    text = (folder / "tables.html").read_text()
    low, high = reports[0]["plain"]["intervals"]["overall_iou"]
    score = reports[0]["plain"]["overall_iou"]
    assert f"<td>{100 * score:.2f} <small>[{100 * low:.2f}, {100 * high:.2f}]</small></td>" in text
    counts = re.findall(r": (\d+) samples</title>", text)
    assert sum(map(int, counts)) == COUNT and len(counts) == 20


def test_a_picture_is_written_once_for_all_its_samples(folder):
    names = [path.name for path in (folder / "comparison_files").iterdir()]
    assert len([name for name in names if name.endswith(".jpg")]) == COUNT // 3
    assert len([name for name in names if name.endswith("_truth.png")]) == COUNT
    assert len(names) == COUNT // 3 + 3 * COUNT
    layer = np.asarray(Image.open(folder / "comparison_files" / "0_A.png"))
    assert (layer[:, :3, 3] > 0).all() and not layer[:, 3:].any()  # Transparent outside the mask.


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def show(browser, folder):
    """Opens a page of the folder."""
    contexts = []

    def open_page(name: str, scheme: str = "light", width: int = 1280):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        tab = context.new_page()
        tab.goto((folder / f"{name}.html").as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", ["tables", "overlays", "texts", "comparison"])
def test_nothing_sticks_out_on_a_telephone(name, show):
    tab = show(name, width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    boxes = tab.evaluate(
        "[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.height])"
    )
    left, right, height = np.transpose(boxes)
    assert left.min() >= 0 and right.max() <= 390 and height.min() >= 10


def test_samples_are_sorted_and_filtered(show, reports):
    tab = show("comparison")
    numbers = "[...document.querySelectorAll('#samples > figure')].map(one => +one.dataset.index)"
    ious = [[entry["iou"] for entry in compare_reports(reports)["per_sample"]][number] for number in range(COUNT)]
    differences = [second - first for first, second in ious]
    assert [differences[n] for n in tab.evaluate(numbers)] == sorted(differences, reverse=True)
    tab.select_option("#order", "d1")
    assert [differences[n] for n in tab.evaluate(numbers)] == sorted(differences)
    tab.select_option("#order", "index")
    assert tab.evaluate(numbers) == list(range(COUNT))
    tab.fill("#filter", "BLUE square")
    assert tab.evaluate(numbers) == [n for n in range(COUNT) if "blue square" in EXPRESSIONS[n % len(EXPRESSIONS)]]
    assert tab.inner_text("#count") == f"{COUNT // len(EXPRESSIONS)} of {COUNT} samples"
    tab.fill("#filter", "")
    assert len(tab.evaluate(numbers)) == COUNT
    widths = tab.evaluate(
        "[...document.querySelectorAll('.stack')[1].children].map(one => one.getBoundingClientRect().width)"
    )
    assert widths[0] == widths[1] > 100  # The mask lies on its picture.


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["overlays", "comparison"])
def test_axe_finds_no_barrier(name, scheme, show):
    passes, violations = run_axe(show(name, scheme))
    assert violations == [] and passes > 20


def contrast(first: str, second: str) -> float:
    """The contrast of two colours by WCAG 2.2."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def test_colours_have_the_contrast_of_wcag_aa(folder):
    """4.5 for text, 3 for marks of plots, on the ground of either scheme."""
    style = (folder / "tables.html").read_text().split("<style>")[1].split("</style>")[0]
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        assert len(colors) == 10
        for name, color in colors.items():
            required = {"text": 4.5, "faint": 4.5, "link": 4.5, "back": 0, "line": 0}.get(name, 3)
            assert contrast(color, colors["back"]) >= required, name
