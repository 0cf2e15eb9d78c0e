"""PhraseCut's metrics against numbers worked out by hand."""

import numpy as np
import pytest

from cmpc_tf2.data.batches import Sample, batch_path, write_batch
from cmpc_tf2.data.phrasecut import read_phrasecut
from cmpc_tf2.errors import InputError
from cmpc_tf2.reports.phrasecut import PhraseCutScorer, format_phrasecut, phrasecut_scores
from phrasecut_files import HEIGHT, WIDTH, box, task, write_phrasecut


def test_scores():
    # IoUs: 0.5, which is not above 0.5; 0 where nothing is predicted or hit; 0.75; 0.9; 1.
    scores = phrasecut_scores([(5, 10), (0, 8), (0, 0), (3, 4), (9, 10), (2, 2)])
    assert scores == {
        "tasks": 6,
        "mean_iou": pytest.approx((0.5 + 0 + 0 + 0.75 + 0.9 + 1) / 6),
        "cumulative_iou": pytest.approx(19 / 34),
        "precision": {"0.5": 0.5, "0.6": 0.5, "0.7": 0.5, "0.8": pytest.approx(1 / 3), "0.9": pytest.approx(1 / 6)},
    }


@pytest.fixture
def paths(tmp_path):
    """Files of three samples of the split; only the size of the first one's mask is read."""
    found = [batch_path(tmp_path, "phrasecut", "miniv", index) for index in range(3)]
    found[0].parent.mkdir(parents=True)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    write_batch(found[0], Sample(np.ones(20, np.int64), image, image[..., 0] == 0, "man"))
    return found


TASKS = [
    task(1),
    task(2, [[box(0, 0, 10, 2)], [box(20, 10, 10, 2)]], name="seat", instances=2),
    task(3),
    task(4),
]
FIELDS = [{"task_id": f"7__{number}"} for number in (2, 1, 3)]


def masks(*rows: slice) -> dict[str, np.ndarray]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for row in rows:
        mask[row, 5:15] = True
    return {"plain": mask[:2], "own_size": mask}


def test_a_split(tmp_path, paths):
    split = read_phrasecut(write_phrasecut(tmp_path / "phrasecut", TASKS), "miniv")
    scorer = PhraseCutScorer(split, paths, FIELDS)
    # Two instances of 20 pixels: 10 are hit, 10 more predicted. Then 5 of 10 rows. Sample 2 has no words.
    scorer.add(0, None, masks(slice(0, 2)))
    scorer.add(1, None, masks(slice(5, 10)))
    summary = scorer.summarize()
    assert summary["tasks"] == 4 and summary["not_predicted"] == 2
    assert summary["mean_iou_of_all"] == pytest.approx((10 / 50 + 50 / 100) / 4)
    subsets = summary["subsets"]
    assert next(iter(subsets)) == "all" and "i_many" not in subsets
    assert subsets["all"]["tasks"] == 2 and subsets["all"]["precision"]["0.5"] == 0
    assert subsets["all"]["mean_iou"] == pytest.approx(0.35)
    assert subsets["all"]["cumulative_iou"] == pytest.approx(60 / 150)
    assert subsets["i_multi"] == subsets["t_stuff"] == phrasecut_scores([(10, 50)])
    assert subsets["i_single"] == subsets["t_obj"] == phrasecut_scores([(50, 100)])
    fields = scorer.with_subsets(FIELDS)
    assert fields[0]["task_id"] == "7__2" and {"i_multi", "t_stuff", "p_name"} < set(fields[0]["subsets"])
    assert fields[2]["subsets"] == []


def test_text(tmp_path, paths):
    split = read_phrasecut(write_phrasecut(tmp_path / "phrasecut", TASKS), "miniv")
    scorer = PhraseCutScorer(split, paths, FIELDS)
    scorer.add(1, None, masks(slice(5, 11)))
    lines = format_phrasecut(scorer.summarize()).splitlines()
    assert lines[1].split()[:6] == ["subset", "tasks", "mean", "IoU", "cumulative", "IoU"]
    assert lines[1].split()[6:] == ["Pr@0.5", "Pr@0.6", "Pr@0.7", "Pr@0.8", "Pr@0.9"]
    assert lines[2].split() == ["all", "1", "0.6000", "0.6000", "1.0000", "0.0000", "0.0000", "0.0000", "0.0000"]
    assert lines[-1] == "3 of 4 tasks have no mask; if they count as 0, the mean IoU is 0.1500"
    assert any(line.startswith("s_mid ") for line in lines)


def test_samples_that_are_not_those_of_the_split(tmp_path, paths):
    split = read_phrasecut(write_phrasecut(tmp_path / "phrasecut", TASKS, picture={"width": 80}), "miniv")
    for fields, words in (
        ([{}, {"task_id": "7__1"}], "miniv_batch: its samples have no task_id, which --phrasecut needs; build"),
        ([{"task_id": "7__1"}, {"task_id": "9__9"}], "task 9__9 is not in the annotations"),
        (FIELDS, "miniv_0.npz: expected a picture of its own size, 80 x 25, found 40 x 25"),
    ):
        with pytest.raises(InputError, match=words):
            PhraseCutScorer(split, paths, fields)
