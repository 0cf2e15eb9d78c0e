"""The report of an evaluation: scores with intervals, for the whole split and by group."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotation_fields import checked, describe, field
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_json
from cmpc_tf2.reports.bootstrap import CONFIDENCE, RESAMPLES, SEED, intervals, resampled_sums
from cmpc_tf2.reports.groups import group_samples
from cmpc_tf2.tasks.boxes.candidates import SHARES
from cmpc_tf2.tasks.masks.metrics import ScoreSet
from cmpc_tf2.tasks.task import Scores, Task

Counts = Sequence[tuple[int, int]]


class SampleSet:
    """The samples of a split with the groups they belong to.

    Args:
        records: `per_sample` of a report.

    Attributes:
        clusters: What is resampled: the video of each sample where it is known, otherwise its picture.
        groups: Positions of the samples: of all, then by group.
    """

    def __init__(self, records: list[dict]):
        self._criteria = list(group_samples(records))
        self.clusters = [str(record.get("fields", {}).get("video_id", record["picture"])) for record in records]
        self.groups = [list(range(len(records)))]
        self.groups += [positions for *_, groups in self._criteria for positions in groups.values()]

    @property
    def head(self) -> dict:
        """How the intervals are computed, for reports."""
        return {
            "method": "percentile bootstrap; pictures are drawn with all their samples",
            "confidence": CONFIDENCE,
            "pictures": len(set(self.clusters)),
            "resamples": RESAMPLES,
            "seed": SEED,
        }

    def score(self, pairs: list[Counts], scores: Scores) -> list[tuple[np.ndarray, np.ndarray]]:
        """The scores of every group, for the samples and for all resamples.

        Args:
            pairs: For each variant or model, what `scores.columns` takes: intersection and union of each sample, ...
            scores: The scores.

        Returns:
            For each variant or model, on the same resamples, float64 `(G, S)` and `(R, G, S)`; NaN for a resample
            without samples of the group, and in all resamples if the group has fewer than two pictures, which tell
            nothing of how pictures vary.
        """
        columns = np.stack([scores.columns(one) for one in pairs])
        resampled = resampled_sums(np.concatenate(columns, axis=1), self.clusters, self.groups)
        is_single = [count < 2 for count in self.pictures]
        found = []
        for number, one in enumerate(columns):
            first = number * one.shape[1]
            values = scores.from_sums(resampled[..., first : first + one.shape[1]])
            values[:, is_single] = np.nan
            points = np.stack([one[positions].sum(axis=0) for positions in self.groups])
            found.append((scores.from_sums(points), values))
        return found

    @property
    def pictures(self) -> list[int]:
        """Number of pictures of each group."""
        return [len({self.clusters[position] for position in positions}) for positions in self.groups]

    def by_group(self, entries: list[dict]) -> dict:
        """Entries of the groups as reports have them.

        Args:
            entries: One for each group, but not that of all samples.

        Returns:
            By criterion: `title`, and `groups`, by name; `samples` and `pictures` of each precede its entry.
        """
        remaining = iter(zip(self.groups[1:], self.pictures[1:], entries, strict=True))
        return {
            name: {"title": title, "groups": {group: _with_counts(*next(remaining)) for group in groups}}
            for name, title, groups in self._criteria
        }


def _with_counts(positions: list[int], pictures: int, entry: dict) -> dict:
    return {"samples": len(positions), "pictures": pictures, **entry}


def with_intervals(points: np.ndarray, values: np.ndarray, scores: Scores) -> dict:
    """Scores and their `intervals` as reports have them.

    Args:
        points: `(S,)`.
        values: `(R, S)`, those of the resamples.
        scores: The scores.
    """
    ends = [None if np.isnan(one).any() else one.tolist() for one in intervals(values)]
    return {**scores.as_report(points.tolist()), "intervals": scores.as_report(ends)}


def make_report(head: dict, result: dict, fields: list[dict], task: Task) -> dict:
    """The report of an evaluation.

    Args:
        head: `dataset`, `split`, `model` and `protocol`.
        result: From `evaluate`.
        fields: Fields of the samples of the split (`sample_fields.read_fields`).
        task: The task that was scored.

    Returns:
        `head` and `result`, in which scores have `intervals` and records their `fields`, with `bootstrap` and `groups`.
    """
    records = [
        {**record, **({"fields": fields[record["index"]]} if fields[record["index"]] else {})}
        for record in result["per_sample"]
    ]
    samples = SampleSet(records)
    whole, *groups = _score_measures(samples, task.measures(records))
    parts = {"bootstrap": samples.head, "groups": samples.by_group(groups), "per_sample": records}
    return {**head, **result, **whole, **parts}


def _score_measures(samples: SampleSet, measures: dict[str, tuple[Scores, list]]) -> list[dict]:
    """For each group, the scores with intervals by measure (`Task.measures`)."""
    entries, names_by_scores = [{} for _ in samples.groups], {}
    for name, (scores, _) in measures.items():
        names_by_scores.setdefault(scores, []).append(name)
    for scores, names in names_by_scores.items():
        scored = samples.score([measures[name][1] for name in names], scores)
        for name, (points, values) in zip(names, scored, strict=True):
            for number, entry in enumerate(entries):
                entry[name] = with_intervals(points[number], values[:, number], scores)
    return entries


def scores_of(report: dict) -> ScoreSet:
    """The scores that a report on masks has."""
    thresholds = tuple(map(float, report["own_size"]["precision"]))
    return ScoreSet(thresholds, "average_precision" in report["own_size"])


def flat_scores(entry: dict) -> list[tuple[float, list[float] | None]]:
    """The scores of an entry of a report with their intervals, in the order of `Scores.titles`."""
    found = []
    for name, ends in entry["intervals"].items():
        is_group = isinstance(entry[name], dict)
        found += [(value, ends[key]) for key, value in entry[name].items()] if is_group else [(entry[name], ends)]
    return found


def score_text(value: float, ends: list[float] | None, sign: str = "", factor: float = 1, digits: int = 4) -> str:
    """A score with its interval: `0.6123 [0.6012, 0.6234]`; `-` in place of an interval that is not known."""
    form = f"{sign}.{digits}f"
    interval = "[-]" if ends is None else f"[{factor * ends[0]:{form}}, {factor * ends[1]:{form}}]"
    return f"{factor * value:{form}} {interval}"


def read_report(path: Path) -> dict:
    """Reads a report of `evaluate`.

    Raises:
        InputError: It is not one, or of an earlier version.
    """
    report = read_json(path)
    with named(f"{path}: not a report of this version of `evaluate`", "; write it again with `evaluate --report`"):
        checked(report, dict, "the report")
        for name in ("dataset", "split", "model", "protocol"):
            field(report, name, str)
        thresholds = field(field(report, "own_size", dict), "precision", dict).keys()
        if not thresholds or not thresholds <= {str(hundredths / 100) for hundredths in range(1, 100)}:
            raise InputError("expected precision by IoU thresholds from 0.01 to 0.99")
        records = field(report, "per_sample", list)
        if not records:
            raise InputError("expected samples in per_sample, found none")
        for record in records:
            _check_record(checked(record, dict, "a record"))
    return report


def _check_record(record: dict):
    for name in (key for key, _ in SHARES.values() if key in record):
        if not isinstance(record[name], bool):
            raise InputError(f"expected true or false for {name}, found {describe(record[name])}")
    for name in ("index", "area", "own_size_intersection", "own_size_union"):
        if field(record, name, int) < 0:
            raise InputError(f"expected {name} from 0, found {record[name]}")
    for name in ("expression", "picture"):
        field(record, name, str)
    checked(record.get("fields", {}), dict, "fields")
    size = field(record, "size", list)
    if len(size) != 2 or min(checked(side, int, "size") for side in size) < 1:
        raise InputError("expected height and width for size")
    if record["own_size_intersection"] > record["own_size_union"]:
        raise InputError("expected no intersection above its union")
