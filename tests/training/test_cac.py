"""Training of CAC on a split of objects, from a small detector."""

import csv
import dataclasses
import itertools
import json

import numpy as np
import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.commands.train import read_config
from cmpc_tf2.data.batches import batch_path, list_batches, read_batch, write_batch
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.model_files import load_model
from cmpc_tf2.training.referent_data import ReferentData, sentences_of_epoch
from object_splits import (
    BOXES,
    DETECTOR,
    WORDS,
    require_initial_weights_of_the_seed,
    require_same_steps_when_resumed,
    write_files_to_start_from,
    write_split,
)

# Some anchors, which have 64 pixels and more, lie inside of its pictures.
LARGE = dataclasses.replace(DETECTOR, shorter_side=96, longer_side=160)
SIZES = {"max_words": 6, "embedding_dim": 7, "word_dim": 5, "lstm_units": 4}
CAPTIONER = {"units": 4, "word_dim": 5, "attention_dim": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with splits, a detector, and the files that start a run."""
    root = tmp_path_factory.mktemp("cac")
    write_split(root, "train")
    write_split(root, "val", pictures=2)
    write_files_to_start_from(root, LARGE)
    (root / "sizes.json").write_text(json.dumps(SIZES))
    return root


@pytest.fixture(scope="module")
def options(root):
    places = {"--batch-root": ".", "--backbone": "detector.keras", "--vocabulary": "words.txt", "--sizes": "sizes.json"}
    files = [word for option, name in places.items() for word in (option, str(root / name))]
    return ["--model-name", "cac", "-d", "shapes", "-t", "train", *files]


@pytest.fixture(scope="module")
def run(root, options, eager):
    folder = root / "run"
    more = ["--steps", "4", "--checkpoint-every", "2", "--validation-split", "val", "--seed", "5"]
    with eager():  # `test_variants` takes the steps of a graph.
        assert main(["train", "--output-dir", str(folder), *options, *more]) == 0
    return folder


def rows_of(folder) -> list[dict]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_files(run, root):
    rows = rows_of(run)
    assert [row["step"] for row in rows] == ["2", "4"]
    for row in rows:
        parts = [
            float(row[f"{name}_loss"]) for name in ("anchor_class", "anchor_box", "class", "box", "mask", "response")
        ]
        assert min(parts) > 0 and float(row["caption_loss"]) == 0
        assert float(row["loss"]) == pytest.approx(sum(parts), rel=1e-5)
        assert 0 <= float(row["val_overall_iou"]) <= 1 and 0 <= float(row["foreground_accuracy"]) <= 1
    config = read_config(run / "config.json")
    assert config.batch_size == 1 and config.model.detector == LARGE and config.model.variant == "response"
    first, last = load_model(root / "detector.keras"), load_model(run / "last.keras")
    assert last.vocabulary == WORDS and (run / "best.keras").is_file()
    is_changed = {
        old.path: bool((np.asarray(new) != np.asarray(old)).any())
        for new, old in zip(last.detector.weights, first.weights, strict=True)
    }
    assert is_changed["rpn_net/kernel"] and is_changed["resnet.layer2.0.conv1/kernel"]
    frozen = [path for path in is_changed if "bn" in path or path.startswith(("resnet.conv1/", "resnet.layer1."))]
    assert len(frozen) > 20 and not any(is_changed[path] for path in frozen)


@pytest.mark.usefixtures("eagerly")
def test_a_resumed_run_takes_the_same_steps(run, tmp_path):
    require_same_steps_when_resumed(run, tmp_path / "run")


def test_the_initial_weights_follow_from_the_seed(run):
    require_initial_weights_of_the_seed(run)


@pytest.mark.parametrize(
    "sizes",
    [
        {"captioner": CAPTIONER},
        pytest.param({"variant": "baseline"}, marks=pytest.mark.slow),
        pytest.param({"variant": "spatial", "captioner": CAPTIONER}, marks=pytest.mark.slow),
    ],
)
def test_variants(sizes, root, options, tmp_path):
    (tmp_path / "sizes.json").write_text(json.dumps({**SIZES, **sizes}))
    more = ["--sizes", str(tmp_path / "sizes.json"), "--steps", "1", "--output-dir", str(tmp_path / "run")]
    assert main(["train", *options, *more]) == 0
    (row,) = rows_of(tmp_path / "run")
    assert (float(row["caption_loss"]) > 0) == ("captioner" in sizes)
    assert (float(row["response_loss"]) > 0) == ("variant" not in sizes)
    model = load_model(tmp_path / "run" / "last.keras")
    assert model.config.variant == sizes.get("variant", "response")
    assert (model.caption_model is None) == ("captioner" not in sizes)


def test_the_boxes_are_scored(run, root, tmp_path, capsys):
    report = tmp_path / "report.json"
    split = ["-d", "shapes", "-t", "val", "--batch-root", str(root)]
    outputs = ["--report", str(report), "--html", str(tmp_path / "page.html")]
    assert main(["evaluate", "--model", str(run / "last.keras"), *split, *outputs]) == 0
    found = json.loads(report.read_text())
    share = np.mean([record["detected_box"] for record in found["per_sample"]])
    assert found["boxes"]["detected_boxes"] == share and set(found["boxes"]) == {"detected_boxes", "intervals"}
    assert f"right box of the detected ones = {share:f} [" in capsys.readouterr().out
    (groups,) = (one["groups"] for name, one in found["groups"].items() if name == "expression_length")
    assert sum(one["samples"] * one["boxes"]["detected_boxes"] for one in groups.values()) == pytest.approx(6 * share)
    assert "right box of the detected ones" in (tmp_path / "page.html").read_text()
    assert float(rows_of(run)[-1]["val_overall_iou"]) == found["plain"]["overall_iou"]


@pytest.mark.parametrize(
    "change, status, words",
    [
        (["-bs", "2"], 2, "--batch-size: CAC takes one sentence per step; leave it out"),
        (
            ["--strategy", "mirrored"],
            2,
            "--strategy: CAC takes one sentence per step, and pictures of any size",
        ),
        (["--accumulate", "2"], 2, "--accumulate: 2 parts do not divide a batch of 1 samples"),
        (["--jit-compile"], 2, "--jit-compile: CAC takes one sentence per step"),
        (["--finetune-backbone"], 2, "--finetune-backbone: a CAC model trains its backbone anyway; leave it out"),
        (["--embeddings", "none.npy"], 1, "--embeddings: "),
        (["-t", "testA"], 1, "make them with `python -m cmpc_tf2 build_batches --objects -d shapes -t testA`"),
        (["-t", "testB"], 1, "expected objects of the classes 1 to 3, as the detector has, found class 7; give"),
    ],
)
def test_what_cannot_be_trained_is_said(change, status, words, root, options, tmp_path, capsys):
    if "testB" in change:
        sample = read_batch(batch_path(root, "shapes", "train", 0), ObjectSample)
        path = batch_path(root, "shapes", "testB", 0)
        path.parent.mkdir()
        write_batch(path, dataclasses.replace(sample, categories=np.array([7, 1, 2])))
    found = main(["train", "--output-dir", str(tmp_path / "run"), *options, "--steps", "1", *change])
    error = capsys.readouterr().err
    assert found == status and words in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_detector_is_needed(options, tmp_path, capsys):
    place = options.index("--backbone")
    without = options[:place] + options[place + 2 :]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *without]) == 2
    assert "--backbone: training of a CAC model starts from a detector; give its file" in capsys.readouterr().err


def test_sentences_of_a_picture_follow_each_other():
    pictures = [[0, 1, 4], [2, 3], [5, 6, 7, 8]]
    epochs = [sentences_of_epoch(pictures, 3, epoch) for epoch in range(4)]
    numbers = {sentence: number for number, picture in enumerate(pictures) for sentence in picture}
    orders = []
    for epoch in epochs:
        assert sorted(epoch) == list(range(9))
        orders.append(list(dict.fromkeys(numbers[sentence] for sentence in epoch)))
        changes = sum(numbers[one] != numbers[other] for one, other in itertools.pairwise(epoch))
        assert changes == 2
    assert orders[0] == [0, 1, 2] and orders[1:] != [orders[0]] * 3
    assert epochs[0] == sentences_of_epoch(pictures, 3, 0) != sentences_of_epoch(pictures, 4, 0)


def test_what_a_step_reads(run, root):
    """The picture is scaled, and so are box and mask; the stream begins at any step."""
    config, paths = read_config(run / "config.json"), list_batches(root, "shapes", "train", ObjectSample)
    data = ReferentData(config.completed(), load_model(run / "last.keras"), paths, PICTURES)
    assert data.epoch_size == 9
    inputs = next(iter(data.dataset(11)))
    (name,) = data.names_of_step(11)
    (path,) = (path for path in paths if path.name == name)
    sample = read_batch(path, ObjectSample)
    assert inputs["image"].shape == (1, 96, 144, 3) and inputs["mask"].shape == (1, 96, 144)
    x, y, width, height = BOXES[sample.object]
    np.testing.assert_allclose(inputs["box"][0], 2.4 * np.array([x, y, x + width - 1, y + height - 1]), rtol=1e-6)
    assert inputs["label"].numpy().tolist() == [1] and inputs["seed"].numpy().tolist() == [[5, 11]]
    words = [WORDS[number] for number in inputs["token_ids"].numpy()[0] if number]
    assert " ".join(words) == sample.expression
    first = [data.names_of_step(step)[0] for step in range(9)]
    assert sorted(first) == sorted(path.name for path in paths)


@pytest.mark.slow
def test_a_damaged_picture_is_named(root, options, tmp_path, capsys):
    write_split(tmp_path, "train", pictures=1)
    path = batch_path(tmp_path, "shapes", "train", 0)
    sample = read_batch(path, ObjectSample)
    write_batch(path, dataclasses.replace(sample, file=sample.file[:200]))
    more = ["--batch-root", str(tmp_path), "--output-dir", str(tmp_path / "run"), "--steps", "3"]
    assert main(["train", *options, *more]) == 1
    error = capsys.readouterr().err
    assert f"{path}: file_batch: " in error and "Traceback" not in error


@pytest.mark.slow
def test_a_model_file_is_trained_on(run, root, tmp_path):
    start = ["--model", str(run / "last.keras"), "-d", "shapes", "-t", "train", "--batch-root", str(root)]
    more = ["--output-dir", str(tmp_path / "run"), "--epochs", "1", "-lr", "1e-30"]
    assert main(["train", *start, *more]) == 0
    config = read_config(tmp_path / "run" / "config.json")
    assert config.steps == 9 and config.model_name == "cac"
    before, after = (load_model(path / "last.keras") for path in (run, tmp_path / "run"))
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
    assert "right box of the detected ones = " in capsys.readouterr().out
