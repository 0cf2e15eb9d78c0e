"""Intervals, against a bootstrap written as a loop over drawn samples."""

import numpy as np
import pytest

from cmpc_tf2.medium import PICTURES
from cmpc_tf2.reports.bootstrap import RESAMPLES, intervals, resampled_sums
from cmpc_tf2.tasks.masks.metrics import counts_of
from made_reports import made_report, make_records


def pictures_of(draws: int, count: int, seed: int) -> list[list[int]]:
    """Numbers of pictures drawn with replacement."""
    rng = np.random.default_rng(seed)
    return [[int(rng.integers(count)) for _ in range(count)] for _ in range(draws)]


def scores_by_loop(records: list[dict]) -> list[float]:
    """Overall IoU, mean IoU and precision@0.5, one sample after the other."""
    intersections = unions = 0
    ious = []
    for record in records:
        intersections += record["intersection"]
        unions += record["union"]
        ious.append(record["intersection"] / record["union"])
    return [intersections / unions, sum(ious) / len(ious), sum(iou >= 0.5 for iou in ious) / len(ious)]


@pytest.fixture(scope="module")
def records():
    """60 samples on 20 pictures of one to five samples, alike within a picture."""
    rng = np.random.default_rng(5)
    pictures = np.repeat(np.arange(20), [1, 2, 3, 4, 5] * 4)
    return make_records(np.clip(rng.beta(2, 1, 20)[pictures] + rng.normal(0, 0.05, 60), 0, 1), pictures)


def test_intervals_are_those_of_a_loop_over_drawn_pictures(records):
    """Other random numbers, so the ends agree but for the chance of 2,000 draws: within a tenth of the width."""
    found = made_report(records)["plain"]
    by_picture = {}
    for record in records:
        by_picture.setdefault(record["picture"], []).append(record)
    groups = list(by_picture.values())
    drawn = [
        scores_by_loop([record for picture in pictures for record in groups[picture]])
        for pictures in pictures_of(2000, len(groups), seed=99)
    ]
    for number, score in enumerate(("overall_iou", "mean_iou", "precision")):
        values = sorted(scores[number] for scores in drawn)
        low, high = values[50], values[-51]
        ends = found["intervals"][score]
        ends = ends["0.5"] if score == "precision" else ends
        assert ends == pytest.approx([low, high], abs=0.1 * (high - low)), score
        assert found["intervals"]["precision"]["0.5"][0] <= found["precision"]["0.5"]


def test_resamples_are_sums_over_whole_pictures(records):
    """Exactly those that the same numbers give when the drawn samples are listed and added up."""
    clusters = [record["picture"] for record in records]
    columns = PICTURES.task.scores.columns(counts_of(records, "plain"))
    everyone, some = list(range(60)), [3, 4, 40]
    sums = resampled_sums(columns, clusters, [everyone, some])
    assert sums.shape == (RESAMPLES, 2, columns.shape[1])
    numbers = [list(dict.fromkeys(clusters)).index(cluster) for cluster in clusters]
    rng = np.random.default_rng(0)
    for row, drawn in enumerate(rng.integers(20, size=(100, 20), dtype=np.int32)):
        listed = [sample for picture in drawn for sample in everyone if numbers[sample] == picture]
        np.testing.assert_allclose(sums[row, 0], columns[listed].sum(axis=0), rtol=1e-12)
        chosen = [sample for sample in listed if sample in some]
        np.testing.assert_allclose(sums[row, 1], columns[chosen].sum(axis=0), rtol=1e-12)


def test_samples_of_one_picture_tell_less_than_those_of_many(records):
    """Sixty samples taken as independent give a shorter interval, wrongly."""
    apart = [{**record, "picture": str(number)} for number, record in enumerate(records)]
    together, independent = (made_report(one)["plain"]["intervals"]["mean_iou"] for one in (records, apart))
    assert together[1] - together[0] > 1.3 * (independent[1] - independent[0])


def test_videos_are_drawn_as_a_whole(records):
    fields = [{"video_id": f"v{index % 7}"} for index in range(60)]
    assert made_report(records, fields)["bootstrap"]["pictures"] == 7


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """The mean of 200 pictures from a known distribution lies in about 95 of 100 intervals."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(100):
        columns = rng.beta(2, 1, size=(200, 1))
        sums = resampled_sums(columns, range(200), [list(range(200))])
        ((low, high),) = intervals(sums[:, 0] / 200)
        covered += low <= 2 / 3 <= high
    assert 88 <= covered <= 99


def test_reports_are_the_same_every_time(records):
    assert made_report(records) == made_report(records)


def test_a_single_picture_has_no_interval(records):
    report = made_report([{**record, "picture": "one"} for record in records])
    assert report["plain"]["intervals"]["overall_iou"] is None
    assert report["plain"]["overall_iou"] == made_report(records)["plain"]["overall_iou"]
