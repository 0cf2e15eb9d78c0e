"""`evaluate --phrasecut` and `--predictions`."""

import json

import numpy as np
import pytest
from PIL import Image

import build_batches
from cmpc_tf2.cli import main
from phrasecut_files import HEIGHT, WIDTH, box, task, write_phrasecut
from small import WORDS

# The third task has no picture, so it is not in the split.
TASKS = [
    task(1),
    task(2, [[box(0, 0, 20, 25)], [box(30, 0, 10, 25)]], attributes=["red"], instances=2),
    {**task(3), "Polygons": [[box(400, 400, 5, 5)]]},
]


@pytest.fixture
def root(tmp_path):
    """The data set in `data/phrasecut`, and its split."""
    write_phrasecut(tmp_path / "data/phrasecut", TASKS)
    (tmp_path / "data/vocabulary_Gref.txt").write_text("\n".join(WORDS) + "\n")
    arguments = ["-d", "phrasecut", "-t", "miniv", "--data-root", str(tmp_path / "data")]
    assert build_batches.main([*arguments, "--output-root", str(tmp_path), "--skip-errors"]) == 0
    return tmp_path


def evaluate(model_file, root, *more) -> int:
    arguments = ["--model", str(model_file), "-d", "phrasecut", "-t", "miniv", "--batch-root", str(root)]
    return main(["evaluate", *arguments, *map(str, more)])


@pytest.mark.usefixtures("eagerly")
def test_scores_and_predictions(small_model_file, root, capsys):
    report, predictions = root / "report.json", root / "predictions"
    options = ["--phrasecut", root / "data/phrasecut", "--predictions", predictions, "--report", report]
    assert evaluate(small_model_file, root, *options) == 0
    printed = capsys.readouterr()
    report = json.loads(report.read_text())

    assert sorted(path.name for path in predictions.iterdir()) == ["7__1.png", "7__2.png"]
    masks = [np.array(Image.open(predictions / f"7__{number}.png")) for number in (1, 2)]
    assert all(mask.shape == (HEIGHT, WIDTH) and set(np.unique(mask)) <= {0, 255} for mask in masks)
    targets = np.zeros((2, HEIGHT, WIDTH), bool)
    targets[0, 5:15, 5:15] = targets[1, :, :20] = targets[1, :, 30:] = True
    pairs = [((mask > 0) & target, (mask > 0) | target) for mask, target in zip(masks, targets, strict=True)]
    pairs = [(int(both.sum()), int(either.sum())) for both, either in pairs]

    found = report["phrasecut"]
    assert found["tasks"] == 3 and found["not_predicted"] == 1
    scores = found["subsets"]["all"]
    assert scores["tasks"] == 2
    assert scores["mean_iou"] == pytest.approx(sum(i / u for i, u in pairs) / 2)
    assert scores["cumulative_iou"] == pytest.approx(sum(i for i, _ in pairs) / sum(u for _, u in pairs))
    assert found["subsets"]["a_color"]["mean_iou"] == pytest.approx(pairs[1][0] / pairs[1][1])
    assert f"{scores['mean_iou']:.4f}" in printed.out and "1 of 3 tasks have no mask" in printed.out

    # The usual scores remain, and the subsets are groups of them too.
    assert report["own_size"]["mean_iou"] != scores["mean_iou"]
    groups = report["groups"]["subsets"]["groups"]
    assert groups["i_multi"]["samples"] == groups["s_large"]["samples"] == 1 and "own_size" in groups["i_multi"]
    assert "i_multi" in report["per_sample"][1]["fields"]["subsets"]


@pytest.mark.usefixtures("eagerly")
def test_predictions_of_another_data_set_have_numbers(small_model_file, root):
    (root / "phrasecut/miniv_batch/fields.jsonl").unlink()
    assert evaluate(small_model_file, root, "--predictions", root / "masks") == 0
    assert sorted(path.name for path in (root / "masks").iterdir()) == ["0.png", "1.png"]


def test_errors(small_model_file, root, capsys):
    folder, masks = root / "data/phrasecut", root / "masks"
    assert evaluate(small_model_file, root, "--phrasecut", root / "other", "--predictions", masks) == 1
    assert "subset.py: no such file; copy utils/subset.py of" in capsys.readouterr().err
    assert evaluate(small_model_file, root, "--predictions", folder) == 1
    assert "phrasecut: already exists; give the name of a new folder" in capsys.readouterr().err
    fields = root / "phrasecut/miniv_batch/fields.jsonl"
    lines = fields.read_text()
    fields.write_text(lines.replace("7__2", "../7"))
    assert evaluate(small_model_file, root, "--predictions", masks) == 1
    assert "expected task ids that can be names of files, found '../7'" in capsys.readouterr().err
    assert evaluate(small_model_file, root, "--phrasecut", folder, "--predictions", masks) == 1
    assert "task ../7 is not in the annotations" in capsys.readouterr().err
    fields.unlink()
    assert evaluate(small_model_file, root, "--phrasecut", folder, "--predictions", masks) == 1
    assert "its samples have no task_id, which --phrasecut needs" in capsys.readouterr().err
    assert not masks.exists()


@pytest.mark.usefixtures("eagerly")
def test_no_folder_is_left_if_the_evaluation_fails(small_model_file, root, capsys):
    (root / "phrasecut/miniv_batch/phrasecut_miniv_1.npz").write_bytes(b"not a batch")
    before = set(root.iterdir())
    assert evaluate(small_model_file, root, "--predictions", root / "masks") == 1
    assert "phrasecut_miniv_1.npz: " in capsys.readouterr().err
    assert set(root.iterdir()) == before
