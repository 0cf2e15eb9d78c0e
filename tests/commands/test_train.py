"""The train command, on 32 x 32 batches and a small model."""

import argparse
import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.commands import train
from cmpc_tf2.fields import FieldError
from cmpc_tf2.files import write_json
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.model_files import save_model
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.training.config import TrainConfig, steps_of
from small import WORDS


@pytest.mark.parametrize(
    "change, status, words",
    [
        (["-t", "val2"], 2, "unc has no split 'val2'"),
        (["-d", "unc+"], 1, "no batches of unc+ train; make them with"),
        (["--sizes", "words.txt"], 1, "words.txt: no such file"),
        (["--backbone", "none.keras"], 1, "none.keras: no such model file"),
        (["--backbone", "none.keras", "--output-dir", f"{__file__}/run"], 1, "test_train.py in its path"),
        (["--embeddings", "none.npy"], 1, "none.npy: no such word vectors"),
        (["--model", "m.keras"], 2, "--model brings backbone, BERT, word vectors, vocabulary"),
        (["--accumulate", "3"], 2, "--accumulate: 3 parts do not divide a batch of 2 samples"),
        (["--epochs", "1000000", "-bs", "1", "--steps", "1"], 2, "not allowed with argument --epochs"),
        (["--resume", "--steps", "9"], 2, "leave out --batch-root, --batch-size, --dataset, --sizes, --split, --steps"),
        (["--precision", "int8"], 2, "invalid choice: 'int8'"),
        (["--strategy", "multiworker"], 2, "expected the workers' addresses and this one's number in TF_CONFIG"),
        (
            ["--strategy", "multiworker", "--jit-compile"],
            2,
            "--jit-compile: XLA does not compile the steps of several machines",
        ),
        (["--optimizer", "o.npz"], 2, "--optimizer goes with the --model that was converted beside it"),
        (["--validation-split", "testA"], 1, "no batches of unc testA"),
    ],
)
def test_wrong_arguments(change, status, words, train_options, tmp_path, capsys):
    run = tmp_path / "run"
    try:
        found = main(["train", "--output-dir", str(run), *train_options, *change])
    except SystemExit as exit:
        found = exit.code
    assert found == status
    assert words.lower() in capsys.readouterr().err.lower()
    assert not run.exists()


def test_epochs_of_too_many_steps():
    with pytest.raises(FieldError, match=r"^epochs: 1e\+06 would be 6000000000 steps; expected at most 2147483647"):
        steps_of(1e6, 6000, 1)


def test_missing_batches_are_reported_with_the_options_that_the_model_needs(squares, small_maskris, tmp_path, capsys):
    save_model(small_maskris, tmp_path / "maskris.keras")
    sizes = ["--sizes", str(squares / "sizes.json"), "--vocabulary", str(squares / "words.txt")]
    stretched, own = "--image-size 448 --resizing stretch", "--annotations FILE --image-root FOLDER"
    for dataset, options, command in (
        ("unc", sizes, "-d unc -t train --image-size 32"),
        ("unc", ["--model-name", "maskris"], f"-d unc -t train {stretched}"),
        ("unc", ["--model", str(tmp_path / "maskris.keras")], "-d unc -t train --image-size 64 --resizing stretch"),
        ("mine", ["--model-name", "maskris"], f"{own} -d mine -t train {stretched}"),
    ):
        place = ["-d", dataset, "-t", "train", "--batch-root", str(tmp_path), "--output-dir", str(tmp_path / "run")]
        assert main(["train", *place, *options]) > 0
        assert f"`python -m cmpc_tf2 build_batches {command}`" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_batches_of_a_run_that_is_resumed(tmp_path, capsys):
    """The model file that the run started from is not needed any more."""
    config = TrainConfig("unc", "train", batch_root=str(tmp_path), model_name="maskris", start_model="gone.keras")
    write_json(tmp_path / "config.json", config.to_dict())
    assert main(["train", "--output-dir", str(tmp_path), "--resume"]) == 1
    assert "-t train --image-size 448 --resizing stretch`" in capsys.readouterr().err


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test if a model is built."""

    def build(*_, **__):
        raise AssertionError("too late")

    monkeypatch.setattr("cmpc_tf2.training.run.train", build)


@pytest.mark.parametrize(
    "place, words",
    [
        ("file", "file: expected a folder, found a file; give another name"),
        ("file/run", "run: expected a folder, found the file "),
        ("file/a/run", "file in its path; give another name"),
        ("link", "link: expected a folder, found a file; give another name"),
        ("closed/run", "closed/run: cannot be written: Permission denied"),
    ],
)
def test_unusable_output_folders_are_reported(place, words, no_model, train_options, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "closed").mkdir()
    touch = Path.touch

    def touch_unless_closed(path, **options):  # Root may write everywhere.
        if path.parent.name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        touch(path, **options)

    monkeypatch.setattr(Path, "touch", touch_unless_closed)
    assert main(["train", "--output-dir", str(tmp_path / place), *train_options, "--steps", "1"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {tmp_path / place}: ") and words in error
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    "content, words",
    [
        (b"[1]", "expected an object of values by name, received [1]"),
        (b"{", "not readable JSON, perhaps cut off"),
        (b"\xff", "not readable JSON: not UTF-8"),
        (b"[" * 200_000, "not readable JSON: too deeply nested"),
        (b'{"max_words": 10}', "max_words: expected 20 as in the batches, received 10"),
        (b'{"image_size": 1000000000}', "image_size: expected a multiple of 8 from 8 to 4096, received 1000000000"),
        (b'{"fusion_dim": NaN}', "fusion_dim: expected a whole number from 1 to 10000, received nan"),
        (b'{"heads": 5}', "heads: unknown name; expected some of image_size, "),
    ],
)
def test_unusable_sizes_are_reported(content, words, no_model, train_options, tmp_path, capsys):
    sizes = tmp_path / "sizes.json"
    sizes.write_bytes(content)
    assert main(["train", "--output-dir", str(tmp_path / "run"), *train_options, "--sizes", str(sizes)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {sizes}: {words}")


def test_sizes_follow_the_vocabulary(tmp_path):
    path = tmp_path / "sizes.json"
    path.write_text('{"bert": {"layers": 2}}')
    config = train.read_sizes(MaskRISConfig, path, {"vocabulary_size": 40})
    assert config.vocabulary_size == config.bert.vocabulary_size == 40


def test_a_medium_has_settings_of_its_own(squares):
    @dataclasses.dataclass(frozen=True)
    class OwnConfig(TrainConfig):
        heads: int = 5

    medium = dataclasses.replace(PICTURES, train_config=OwnConfig)
    options = argparse.Namespace(medium=medium, dataset="unc", split="train", heads=7, epochs=1.0)
    config = train.make_config(options, None)
    assert type(config) is OwnConfig and config.heads == 7


def test_masking_words_needs_a_vocabulary(train_options, small_model, tmp_path, capsys):
    save_model(CMPC(small_model.config), tmp_path / "mute.keras")
    start = [*train_options[:6], "--model", str(tmp_path / "mute.keras"), "--recipe", "maskris"]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *start]) == 1
    assert "--recipe masked masks words: give the vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_state_of_another_optimizer_is_refused(train_options, small_model_file, tmp_path, capsys):
    start = [*train_options[:6], "--model", str(small_model_file), "--optimizer", str(tmp_path / "state.npz")]
    for content, words in (
        (None, "no such file; expected the state of an optimizer"),
        (b"x", "not the state of"),
    ):
        if content:
            (tmp_path / "state.npz").write_bytes(content)
        assert main(["train", "--output-dir", str(tmp_path / "run"), *start]) == 1
        assert f"state.npz: {words}" in capsys.readouterr().err
    np.savez(tmp_path / "state.npz", **{"adam/iteration": np.int64(3)})
    assert main(["train", "--output-dir", str(tmp_path / "run"), *start]) == 1
    error = capsys.readouterr().err
    assert "state.npz: the state of the optimizer belongs to other weights or settings: adam/" in error
    assert "give the file that was converted beside the model" in error
    assert not (tmp_path / "run").exists()


def test_batches_of_another_vocabulary_are_refused_before_a_run_starts(train_options, squares, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\n".join(WORDS[:5]) + "\n")
    start = [*train_options, "--vocabulary", str(tmp_path / "words.txt")]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *start]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "unc_train_0.npz: token ids do not fit the model, which has 5 words" in error
    assert not (tmp_path / "run").exists()
    (tmp_path / "words.txt").write_text("\n".join([*WORDS[:4], *reversed(WORDS[4:])]) + "\n")
    assert main(["train", "--output-dir", str(tmp_path / "run"), *start]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "unc_train_0.npz: its token ids for " in error and "are not those of the model's vocabulary" in error
    assert not (tmp_path / "run").exists()
