"""Training of MAttNet on a split of objects, with a small detector."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.commands.train import read_config
from cmpc_tf2.data.batches import Sample, batch_path, list_batches, read_batch, write_batch
from cmpc_tf2.data.object_split import read_object_split
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.model_files import load_model
from cmpc_tf2.text.whitespace import WhitespaceTokenizer
from object_splits import (
    DETECTOR,
    WORDS,
    require_initial_weights_of_the_seed,
    require_same_steps_when_resumed,
    write_files_to_start_from,
    write_split,
)

SIZES = {"max_words": 6, "attributes": 3, "embedding_dim": 7, "word_dim": 5, "lstm_units": 4, "joint_dim": 6}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with splits, a detector, and the files that start a run."""
    root = tmp_path_factory.mktemp("two_stage")
    write_split(root, "train")
    write_split(root, "val", pictures=2)
    write_files_to_start_from(root)
    (root / "sizes.json").write_text(json.dumps(SIZES))
    return root


@pytest.fixture(scope="module")
def options(root):
    places = {"--batch-root": ".", "--backbone": "detector.keras", "--vocabulary": "words.txt", "--sizes": "sizes.json"}
    files = [word for option, name in places.items() for word in (option, str(root / name))]
    return ["--model-name", "mattnet", "-d", "shapes", "-t", "train", "-bs", "2", *files]


@pytest.fixture(scope="module")
def run(root, options):
    folder = root / "run"
    more = ["--steps", "4", "--checkpoint-every", "2", "--validation-split", "val", "--seed", "5"]
    assert main(["train", "--output-dir", str(folder), *options, *more]) == 0
    return folder


def test_a_run_leaves_its_files(run, root):
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    for row in rows:
        assert float(row["ranking_loss"]) > 0 and float(row["attribute_loss"]) > 0
        assert 0 <= float(row["val_given_boxes"]) <= 1 and 0 <= float(row["ranking_accuracy"]) <= 1
    config = read_config(run / "config.json")
    assert config.batch_size == 2 and config.model.detector == DETECTOR and config.model.fc7_dim == 64
    first, last = load_model(root / "detector.keras"), load_model(run / "last.keras")
    assert last.vocabulary == WORDS and (run / "best.keras").is_file()
    for found, expected in zip(last.detector.weights, first.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_resumed_run_takes_the_same_steps(run, tmp_path):
    require_same_steps_when_resumed(run, tmp_path / "run")


def test_the_initial_weights_follow_from_the_seed(run):
    require_initial_weights_of_the_seed(run)


def test_the_boxes_are_scored(run, root, tmp_path, capsys):
    report = tmp_path / "report.json"
    split = ["-d", "shapes", "-t", "val", "--batch-root", str(root)]
    assert main(["evaluate", "--model", str(run / "last.keras"), *split, "--report", str(report)]) == 0
    found = json.loads(report.read_text())
    text = capsys.readouterr().out
    for name, key, kind in (("given_boxes", "given_box", "annotated"), ("detected_boxes", "detected_box", "detected")):
        assert found["boxes"][name] == np.mean([record[key] for record in found["per_sample"]])
        low, high = found["boxes"]["intervals"][name]
        assert 0 <= low <= found["boxes"][name] <= high <= 1
        assert f"right box of the {kind} ones = {found['boxes'][name]:f} [{low:.4f}, {high:.4f}]" in text
    with (run / "log.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["val_given_boxes"]) == found["boxes"]["given_boxes"]


@pytest.mark.parametrize(
    "change, status, words",
    [
        (["--strategy", "mirrored"], 2, "--strategy: MAttNet has batches of different sizes"),
        (["--accumulate", "2"], 2, "--accumulate: MAttNet has batches of different sizes"),
        (["--jit-compile"], 2, "--jit-compile: MAttNet has batches of different sizes"),
        (["--finetune-backbone"], 2, "--finetune-backbone: a MAttNet model never trains its backbone; leave it out"),
        (["-t", "val"], 1, "val_batch: its objects have 2 attributes, but the model has 1"),
        (["--embeddings", "none.npy"], 1, "--embeddings: "),
        (["-t", "trainval"], 2, "shapes has no split 'trainval'"),
        (["-t", "testA"], 1, "make them with `python -m cmpc_tf2 build_batches --objects -d shapes -t testA`"),
        (["-t", "testB"], 1, "not a batch of pictures with their objects: no attribute_batch"),
    ],
)
def test_what_cannot_be_trained_is_said(change, status, words, root, options, tmp_path, capsys):
    run = tmp_path / "run"
    if "attributes" in words:
        (tmp_path / "sizes.json").write_text(json.dumps({**SIZES, "attributes": 1}))
        change = [*change, "--sizes", str(tmp_path / "sizes.json")]
    if change == ["-t", "testB"]:
        mask = np.ones((40, 60), bool)
        path = batch_path(root, "shapes", "testB", 0)
        path.parent.mkdir()
        write_batch(path, Sample(np.arange(20), np.zeros((40, 60, 3), np.uint8), mask, "man"))
    found = main(["train", "--output-dir", str(run), *options, "--steps", "1", *change])
    error = capsys.readouterr().err
    assert found == status and words in error and "Traceback" not in error
    assert not run.exists()


def test_a_detector_is_needed(options, tmp_path, capsys):
    place = options.index("--backbone")
    without = options[:place] + options[place + 2 :]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *without]) == 2
    assert "--backbone: training of a MAttNet model starts from a detector; give its file" in capsys.readouterr().err


def test_a_split_is_read_as_pictures_with_references(root):
    paths = list_batches(root, "shapes", "train", ObjectSample)
    data = read_object_split(paths, WhitespaceTokenizer(WORDS, 6))
    assert len(data.pictures) == 3 and len(data.boxes) == 9 and len(data.sentences) == 9
    picture = data.pictures[1]
    assert picture.annotation_ids == (3, 4, 5) and picture.reference_ids == (3, 4)
    assert (picture.height, picture.width) == (40, 60)
    sentences = [data.sentences[number].tokens for number in data.references[3].sentence_ids]
    assert sentences == [("the", "left", "man"), ("red", "one")]
    assert data.token_ids[data.references[4].sentence_ids[0]].tolist() == [6, 4, 0, 0, 0, 0]
    assert data.attributes == ["red", "left"] and data.attribute_counts.tolist() == [6, 3]
    assert data.boxes[5].box == (10, 20, 30.5, 12)


@pytest.mark.slow
def test_a_damaged_picture_is_named(root, options, tmp_path, capsys):
    write_split(tmp_path, "train", pictures=1)
    path = batch_path(tmp_path, "shapes", "train", 0)
    sample = read_batch(path, ObjectSample)
    write_batch(path, dataclasses.replace(sample, file=sample.file[:200]))
    more = ["--batch-root", str(tmp_path), "--output-dir", str(tmp_path / "run"), "--steps", "1"]
    assert main(["train", *options, *more]) == 1
    error = capsys.readouterr().err
    assert f"{path}: file_batch: " in error and "Traceback" not in error


@pytest.mark.slow
def test_a_model_file_is_trained_on(run, root, tmp_path):
    start = ["--model", str(run / "last.keras"), "-d", "shapes", "-t", "train", "--batch-root", str(root)]
    more = ["--output-dir", str(tmp_path / "run"), "--epochs", "1", "-bs", "2", "-lr", "1e-30"]
    assert main(["train", *start, *more]) == 0
    config = read_config(tmp_path / "run" / "config.json")
    assert config.steps == 2 and config.model_name == "mattnet"  # 3 pictures in batches of 2
    before, after = (load_model(path / "last.keras").matching for path in (run, tmp_path / "run"))
    for one, other in zip(before.trainable_weights, after.trainable_weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(precision, root, options, tmp_path, capsys):
    folder = tmp_path / "run"
    more = ["--steps", "1", "--validation-split", "val", "--precision", precision]
    assert main(["train", "--output-dir", str(folder), *options, *more]) == 0
    split = ["-d", "shapes", "-t", "val", "--batch-root", str(root), "--precision", "bfloat16"]
    assert main(["evaluate", "--model", str(folder / "last.keras"), *split]) == 0
    assert "right box of the annotated ones = " in capsys.readouterr().out
