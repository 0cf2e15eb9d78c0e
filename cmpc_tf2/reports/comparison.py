"""Models compared on the same samples.

Models of different protocols have no score in common but that of the masks that `predict` gives at the picture's own
size (`own_size`), so this is what is compared, for all models. All models are scored on the same resamples of pictures,
so that a difference has an interval of its own, which is shorter than those of the scores suggest: what makes a picture
hard is mostly the same for every model.
"""

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.reports.report import SampleSet, flat_scores, score_text, scores_of, with_intervals
from cmpc_tf2.tasks.boxes.candidates import SHARES, BoxShares
from cmpc_tf2.tasks.masks.metrics import counts_of, iou
from cmpc_tf2.tasks.task import Scores

MEASURE = "own_size"
MEASURE_TITLE = "masks as predict gives them, at the picture's own size"
# IoUs of a sample that are closer than this are a tie.
TIE = 0.01
WINS_NOTE = (
    f"Win: the IoU of a sample is higher than A's by at least {TIE}; loss: lower by at least {TIE}; otherwise a tie."
)


def label_of(number: int) -> str:
    """A short name for the model with this number: A, B, ... Z, A1, B1, ..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def require_same_samples(reports: list[dict]):
    """Checks that reports are about the same samples.

    Raises:
        InputError: They are not.
    """
    first = reports[0]
    for report in reports[1:]:
        names = f"{first['model']} and {report['model']}"
        places = [f"{one['dataset']} {one['split']}" for one in (first, report)]
        if places[0] != places[1]:
            raise InputError(f"{names}: scored on {places[0]} and on {places[1]}; score both on the same split")
        if scores_of(first) != scores_of(report):
            raise InputError(f"{names}: their reports have different scores; write both with the same command")
        samples = [[_identity(record) for record in one["per_sample"]] for one in (first, report)]
        if samples[0] != samples[1]:
            index = min(index for index, *_ in set(samples[0]) ^ set(samples[1]))
            raise InputError(
                f"{names}: scored on different samples, first number {index}; score both on the same files"
            )


def _identity(record: dict) -> tuple:
    return record["index"], record["expression"], record["picture"], *record["size"], record["area"]


def compare_reports(reports: list[dict]) -> dict:
    """Compares models on the same samples, the others with the first.

    Args:
        reports: Reports of `evaluate`, two or more.

    Returns:
        `dataset`, `split`, `samples`, `measure`, `bootstrap`; `models`, the scores of each with intervals;
        `differences`, for each other model those of its scores from the first model's, with intervals, and `wins`,
        `losses` and `ties`; both also in `groups`; and `per_sample`, with the `iou` of each model. If all models choose
        boxes, the shares of right ones are among the scores.

    Raises:
        InputError: The reports are not about the same samples.
    """
    require_same_samples(reports)
    first, scores = reports[0], scores_of(reports[0])
    samples = SampleSet(first["per_sample"])
    pairs = [counts_of(report["per_sample"], MEASURE) for report in reports]
    ious = np.array([[iou(*pair) for pair in one] for one in pairs])
    entries = _compare(samples, pairs, scores)
    if shares := BoxShares.of([record for report in reports for record in report["per_sample"]]):
        numbers = [shares.numbers_of(report["per_sample"]) for report in reports]
        of_boxes = _compare(samples, numbers, shares)
        entries = [
            {part: [_joined(*pair) for pair in zip(one[part], other[part], strict=True)] for part in one}
            for one, other in zip(entries, of_boxes, strict=True)
        ]
    for entry, positions in zip(entries, samples.groups, strict=True):
        for other, difference in enumerate(entry["differences"], start=1):
            difference |= _count_wins(ious[other, positions] - ious[0, positions])
    whole, *groups = entries
    names = [{"label": label_of(n), "model": r["model"], "protocol": r["protocol"]} for n, r in enumerate(reports)]
    return {
        "dataset": first["dataset"],
        "split": first["split"],
        "samples": len(first["per_sample"]),
        "measure": MEASURE,
        "bootstrap": samples.head,
        "models": [{**name, **entry} for name, entry in zip(names, whole["models"], strict=True)],
        "differences": [
            {"label": name["label"], **entry} for name, entry in zip(names[1:], whole["differences"], strict=True)
        ],
        "groups": samples.by_group(groups),
        "per_sample": [
            {**{name: record[name] for name in ("index", "expression", "picture", "size")}, "iou": values}
            for record, values in zip(first["per_sample"], ious.T.tolist(), strict=True)
        ],
    }


def _compare(samples: SampleSet, numbers: list, scores: Scores) -> list[dict[str, list[dict]]]:
    """For each group the scores of `models`, and the `differences` of the others from the first.

    Args:
        samples: The samples.
        numbers: For each model, what `scores.columns` takes.
        scores: The scores.
    """
    entries, scored = [], samples.score(numbers, scores)
    for number in range(len(samples.groups)):
        found = [(points[number], values[:, number]) for points, values in scored]
        first, others = found[0], found[1:]
        entries.append(
            {
                "models": [with_intervals(*one, scores) for one in found],
                "differences": [
                    with_intervals(points - first[0], values - first[1], scores) for points, values in others
                ],
            }
        )
    return entries


def _joined(one: dict, other: dict) -> dict:
    """The scores of two entries, with their intervals, as one entry."""
    return {**one, **other, "intervals": {**one["intervals"], **other["intervals"]}}


def titles_of(comparison: dict) -> list[str]:
    """Names of the scores of a comparison in words, in the order of `flat_scores`."""
    first = comparison["models"][0]
    return [*scores_of({MEASURE: first}).titles, *(title for name, (_, title) in SHARES.items() if name in first)]


def _count_wins(differences: np.ndarray) -> dict[str, int]:
    wins, losses = int((differences >= TIE).sum()), int((differences <= -TIE).sum())
    return {"wins": wins, "losses": losses, "ties": len(differences) - wins - losses}


def format_comparison(comparison: dict) -> str:
    """The comparison as text for a terminal: the models, the scores, and the overall IoU by group."""
    models, differences = comparison["models"], comparison["differences"]
    titles = titles_of(comparison)
    lines = [
        f"{comparison['dataset']} {comparison['split']}: {comparison['samples']} samples of "
        f"{comparison['bootstrap']['pictures']} pictures; compared: {MEASURE_TITLE}",
        "In brackets: 95 % bootstrap intervals over pictures, of differences paired.",
        "",
        *(f"{model['label']}: {model['model']} (protocol of its own: {model['protocol']})" for model in models),
        "",
    ]
    heads = [model["label"] for model in models] + [f"{one['label']} - {models[0]['label']}" for one in differences]
    rows = [["", *heads]]
    columns = [_flat(entry, "") for entry in models] + [_flat(entry, "+") for entry in differences]
    rows += [[title, *cells] for title, *cells in zip(titles, *columns, strict=True)]
    lines += [*aligned(rows), ""]
    rows = [["overall IoU by group", "samples", *heads, *[f"{one['label']} wins/losses/ties" for one in differences]]]
    rows.append(["all samples", str(comparison["samples"]), *_overall_row(comparison)])
    for criterion in comparison["groups"].values():
        rows.append([criterion["title"] + ":"])
        rows += [
            [f"  {name}", str(group["samples"]), *_overall_row(group)] for name, group in criterion["groups"].items()
        ]
    lines += aligned(rows)
    return "\n".join([*lines, WINS_NOTE, ""])


def _overall_row(entry: dict) -> list[str]:
    counts = [f"{one['wins']}/{one['losses']}/{one['ties']}" for one in entry["differences"]]
    return [
        *(_flat(one, "")[0] for one in entry["models"]),
        *(_flat(one, "+")[0] for one in entry["differences"]),
        *counts,
    ]


def _flat(entry: dict, sign: str) -> list[str]:
    """The scores of an entry as text, with intervals."""
    return [score_text(value, ends, sign) for value, ends in flat_scores(entry)]


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows as lines, in columns: the first to the left, the others to the right. A row of one cell has no columns."""
    widths = [max(map(len, column)) for column in zip(*(row for row in rows if len(row) > 1), strict=True)]
    lines = []
    for first, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:] if cells else [], strict=True))
        lines.append("  ".join([first.ljust(widths[0]) if cells else first, *padded]))
    return lines
