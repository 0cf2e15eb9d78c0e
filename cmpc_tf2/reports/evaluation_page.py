"""The HTML page of an evaluation."""

import os
from pathlib import Path

from cmpc_tf2.reports.gallery import GalleryEntry, figures_of
from cmpc_tf2.reports.pages import definitions, pair, paragraph, section, table, write_page
from cmpc_tf2.reports.plots import dot_plot, histogram
from cmpc_tf2.reports.report import flat_scores, score_text
from cmpc_tf2.tasks.boxes.candidates import BoxShares
from cmpc_tf2.tasks.masks.metrics import iou
from cmpc_tf2.tasks.masks.protocol import ExactProtocol
from cmpc_tf2.tasks.masks.task import BOXES
from cmpc_tf2.tasks.task import Task

# Best and worst samples that the page shows.
SHOWN = 12


def write_evaluation_page(path: Path, report: dict, task: Task, shown: str, overlays: Path | None = None):
    """Writes the page of a report.

    Args:
        path: The file.
        report: From `make_report`.
        task: The task that was scored.
        shown: Variant whose IoU the histogram shows, and by which samples are the best or worst.
        overlays: Folder of the drawn samples, if they were drawn.
    """
    variants = {name: variant.short_title for name, variant in task.variants.items() if report[name]}
    if report["protocol"] == ExactProtocol.description:
        variants["plain"] = "exact protocol"
    titles = task.scores.titles
    entries = {title: report[variant] for variant, title in variants.items()}
    ious = [iou(*pair) for pair in task.pairs_of(report["per_sample"], shown)]
    parts = [
        definitions(_facts(report, task, variants)),
        section(
            "Scores",
            paragraph(task.scores_note, note=True),
            pair(score_table("Scores", "In percent", titles, entries), score_plot(titles, entries)),
        ),
        *_boxes(report),
        *_groups(report, variants, titles[:2]),
        section(
            "IoU of the samples",
            paragraph(f"Scored: {variants[shown]}.", note=True),
            histogram(f"Histogram of the IoU of {len(ious)} samples", "IoU", ious),
        ),
        *_samples(report, ious, overlays and Path(os.path.relpath(overlays, path.parent))),
    ]
    write_page(path, f"{report['dataset']} {report['split']}: evaluation", parts)


def _facts(report: dict, task: Task, variants: dict[str, str]) -> dict[str, str]:
    facts = {"model": report["model"], "protocol": report["protocol"]}
    facts |= {
        short: task.variants[name].title for name, short in variants.items() if short != task.variants[name].title
    }
    facts["samples"] = f"{report['samples']} of {report['bootstrap']['pictures']} pictures"
    if report["skipped"]:
        facts["skipped"] = f"{len(report['skipped'])} samples: {report['skipped'][0]['reason']}"
    return facts | {"intervals": describe_intervals(report["bootstrap"])}


def describe_intervals(bootstrap: dict) -> str:
    """How the intervals were computed, in words."""
    return (
        f"{bootstrap['confidence']:.0%}, {bootstrap['method']}; {bootstrap['resamples']} resamples, "
        f"seed {bootstrap['seed']}; none for groups of a single picture"
    )


def score_table(name: str, caption: str, titles: list[str], entries: dict[str, dict], sign: str = "") -> str:
    """Scores with their intervals, a column for each entry; the differences of scores with the sign `+`."""
    columns = [[percent_cell(*one, sign) for one in flat_scores(entry)] for entry in entries.values()]
    rows = [[title, *cells] for title, *cells in zip(titles, *columns, strict=True)]
    return table(name, caption, ["score", *entries], rows)


def percent_cell(value: float, ends: list[float] | None, sign: str = "") -> str:
    """A score in percent, its interval below."""
    return score_text(value, ends, sign, factor=100, digits=2).replace(" [", "\n[", 1)


def score_plot(titles: list[str], entries: dict[str, dict], unit: str = "percent") -> str:
    """Scores with their intervals as a plot."""
    series = {name: [in_percent(*one) for one in flat_scores(entry)] for name, entry in entries.items()}
    return dot_plot("The scores of the table with their intervals", unit, titles, series)


def in_percent(value: float, ends: list[float] | None) -> tuple[float, list[float] | None]:
    """A score and its interval in percent."""
    return 100 * value, ends and [100 * end for end in ends]


def _boxes(report: dict) -> list[str]:
    """How often the model chooses the right box, if it chooses boxes."""
    if BOXES not in report:
        return []
    titles = BoxShares.of(report["per_sample"]).titles
    return [section("Boxes", score_table("Boxes", "In percent", titles, {"share of the samples": report[BOXES]}))]


def _groups(report: dict, variants: dict[str, str], titles: list[str]) -> list[str]:
    """The first two scores of each group, in a table and a plot for each criterion; shares of boxes in the table."""
    sections, shares = [], BoxShares.of(report["per_sample"]) if BOXES in report else None
    heads = ["group", "samples", "pictures"]
    heads += [f"{score}, {title}" for title in variants.values() for score in titles]
    heads += shares.titles if shares else []
    for criterion in report["groups"].values():
        rows, series = [], {title: [] for title in variants.values()}
        for name, group in criterion["groups"].items():
            found = {variant: flat_scores(group[variant])[:2] for variant in variants}
            of_boxes = flat_scores(group[BOXES]) if shares else []
            cells = [percent_cell(*one) for scores in (*found.values(), of_boxes) for one in scores]
            rows.append([name, str(group["samples"]), str(group["pictures"]), *cells])
            for variant, title in variants.items():
                series[title].append(in_percent(*found[variant][0]))
        plot = dot_plot(
            f"{titles[0]} by group: {criterion['title']}", f"{titles[0]} in percent", [r[0] for r in rows], series
        )
        title = criterion["title"]
        sections.append(section(title, pair(table(title, "In percent", heads, rows), plot)))
    return sections


def _samples(report: dict, ious: list[float], folder: Path | None) -> list[str]:
    """The worst and best samples: drawn, or as tables."""
    numbered = sorted(zip(ious, report["per_sample"], strict=True), key=lambda pair: (pair[0], pair[1]["index"]))
    chosen = {"Worst samples": numbered[:SHOWN], "Best samples": numbered[::-1][:SHOWN]}
    if folder is None:
        heads, tables = ["expression", "number", "IoU"], []
        for title, pairs in chosen.items():
            rows = [[record["expression"], str(record["index"]), f"{one:.3f}"] for one, record in pairs]
            tables.append(section(title, table(title, "IoU, 0 to 1", heads, rows)))
        return tables
    return [
        section(
            title,
            '<div class="samples">',
            *figures_of(
                GalleryEntry(r["index"], (folder / f"{r['index']}.png").as_posix(), r["expression"], one)
                for one, r in pairs
            ),
            "</div>",
        )
        for title, pairs in chosen.items()
    ]
