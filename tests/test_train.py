"""The train command, on 32 x 32 batches and a small model."""

import argparse
import csv
import dataclasses
import errno
import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.cli import main
from cmpc_tf2.commands import train
from cmpc_tf2.commands.train import read_config
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import FieldError
from cmpc_tf2.medium import Pictures
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.training.checkpoints import OptimizerState, find_checkpoints, load_training, save_training
from cmpc_tf2.training.config import TrainConfig, steps_of
from cmpc_tf2.training.run_log import RunLog, read_log
from killing import run_killed
from small import SMALL, WORDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def arguments(squares):
    return [
        "-d", "unc", "-t", "train", "--batch-root", str(squares), "--vocabulary", str(squares / "words.txt"),
        "--sizes", str(squares / "sizes.json"), "-bs", "2",
    ]  # fmt: skip


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {v.path: v.numpy() for v in load_model(folder / "last.keras").variables}


def test_a_run_learns_and_leaves_its_files(arguments, tmp_path, capsys):
    run = tmp_path / "run"
    more = ["--steps", "30", "--checkpoint-every", "10", "--validation-split", "val", "-lr", "0.002"]
    assert main(["train", "--output-dir", str(run), *arguments, *more]) == 0
    assert capsys.readouterr().out.startswith(f"{run}/last.keras: 30 steps, loss ")
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [10, 20, 30]
    assert float(rows[2]["loss"]) < 0.9 * float(rows[0]["loss"])
    assert all(0 <= float(row["val_overall_iou"]) <= 1 for row in rows)
    assert {"mask_logits_loss", "mask_logits_c3_loss", "learning_rate", "val_precision_0.5"} <= set(rows[0])
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"learning_rate", "loss", "val_overall_iou", "validation_0", "validation_1"} <= set(events.Tags()["tensors"])
    names = {path.name for path in run.iterdir()}
    assert names == {"best.keras", "checkpoints", "config.json", "last.keras", "log.csv", "tensorboard"}
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-000000020", "step-000000030"]
    config = TrainConfig(**json.loads((run / "config.json").read_text()))
    assert config.steps == 30 and config.model == SMALL
    model = load_model(run / "best.keras")
    assert model.vocabulary == WORDS and not model.compiled

    assert main(["train", "--output-dir", str(run), *arguments]) == 1
    assert "holds a run already; --resume resumes it" in capsys.readouterr().err


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(arguments, tmp_path, monkeypatch):
    """Bit for bit: stopped in the middle of a stretch, the steps since the checkpoint are taken again."""
    more = ["--steps", "7", "--checkpoint-every", "3"]
    assert main(["train", "--output-dir", str(tmp_path / "whole"), *arguments, *more]) == 0

    calls = []

    class Stop(keras.callbacks.LambdaCallback):
        def __init__(self, on_train_batch_end):
            super().__init__(on_train_batch_end=self.check)

        def check(self, batch, logs):
            calls.append(batch)
            if len(calls) == 5:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks, "LambdaCallback", Stop)
        assert main(["train", "--output-dir", str(tmp_path / "stopped"), *arguments, *more]) == 130
    assert main(["train", "--output-dir", str(tmp_path / "stopped"), "--resume"]) == 0
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    for path, value in whole.items():
        np.testing.assert_array_equal(resumed[path], value, err_msg=path)


@pytest.mark.slow
def test_killed_runs_equal_an_uninterrupted_one(arguments, tmp_path):
    """Killed with -9 three times, between the files of checkpoints."""
    more = ["--steps", "20", "--checkpoint-every", "5"]
    command = ["-m", "cmpc_tf2", "train", "--output-dir"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    assert main(["train", "--output-dir", str(tmp_path / "whole"), *arguments, *more]) == 0
    killed = tmp_path / "killed"
    start = [*command, str(killed), *arguments, *more]
    for at in (13, 8, 12):
        run_killed(killed, at, start, cwd=ROOT, env=environment)
        start = [*command, str(killed), "--resume"]
    assert main(["train", "--output-dir", str(killed), "--resume"]) == 0
    whole, resumed = weights(tmp_path / "whole"), weights(killed)
    for path, value in whole.items():
        np.testing.assert_array_equal(resumed[path], value, err_msg=path)


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(arguments, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--output-dir", str(run), *arguments, "--steps", "4", "--checkpoint-every", "2"]) == 0
    expected = weights(run)
    for newest, content in (("model.keras", b"damaged"), ("optimizer.npz", b"")):
        (run / "last.keras").unlink()
        (run / "checkpoints" / "step-000000004" / newest).write_bytes(content)
        assert main(["train", "--output-dir", str(run), "--resume"]) == 0
        assert "step-000000004: damaged, trying the one before" in capsys.readouterr().err
        for path, value in weights(run).items():
            np.testing.assert_array_equal(value, expected[path])


@pytest.mark.slow
def test_what_a_run_starts_from(arguments, tmp_path, small_model_file):
    backbone = DeepLabResNet(SMALL.backbone, name="backbone")
    save_model(backbone, tmp_path / "backbone.keras")
    table = np.random.default_rng(0).normal(size=(len(WORDS), SMALL.embedding_dim)).astype("float32")
    np.save(tmp_path / "emb.npy", table)
    start = ["--backbone", str(tmp_path / "backbone.keras"), "--embeddings", str(tmp_path / "emb.npy")]
    # With a rate this small the first step moves nothing.
    step = ["--steps", "1", "-lr", "1e-30", "--decay-steps", "1000000000"]
    assert main(["train", "--output-dir", str(tmp_path / "a"), *arguments, *start, *step]) == 0
    trained = weights(tmp_path / "a")
    np.testing.assert_array_equal(trained["conv1/kernel"], backbone.get_layer("conv1").kernel)
    np.testing.assert_allclose(trained["text_encoder/embedding"], table, atol=1e-5)
    others = [*arguments[:6], "-bs", "2", "--model", str(small_model_file)]
    assert main(["train", "--output-dir", str(tmp_path / "b"), *others, *step]) == 0
    np.testing.assert_array_equal(weights(tmp_path / "b")["conv1/kernel"], weights_of(small_model_file, "conv1/kernel"))
    assert json.loads((tmp_path / "b" / "config.json").read_text())["model"] == SMALL.to_dict()


def weights_of(file: Path, path: str) -> np.ndarray:
    return next(v.numpy() for v in load_model(file).variables if v.path == path)


@pytest.mark.usefixtures("eagerly")
def test_a_loss_that_is_not_a_number_names_its_samples(arguments, squares, tmp_path, monkeypatch, capsys):
    from cmpc_tf2.recipes import losses

    call = losses.SummedCrossEntropy.call
    # 0 / 0 where the mask covers the corner: none of the squares does, so poison every sample.
    monkeypatch.setattr(losses.SummedCrossEntropy, "call", lambda self, y, x: call(self, y, x) * tf.constant(np.nan))
    assert main(["train", "--output-dir", str(tmp_path / "run"), *arguments, "--steps", "3"]) == 1
    error = capsys.readouterr().err
    assert "error: step 0: the loss is nan; its samples: unc_train_" in error
    assert error.count("unc_train_") == 2


@pytest.mark.parametrize(
    "change, status, words",
    [
        (["-t", "val2"], 2, "unc has no split 'val2'"),
        (["-d", "unc+"], 1, "no batches of unc+ train; make them with"),
        (["--sizes", "words.txt"], 1, "words.txt: no such file"),
        (["--backbone", "none.keras"], 1, "none.keras: no such model file"),
        (["--backbone", "none.keras", "--output-dir", f"{__file__}/run"], 1, "test_train.py in its path"),
        (["--embeddings", "none.npy"], 1, "none.npy: no such word vectors"),
        (["--model", "m.keras"], 2, "--model brings backbone, word vectors, vocabulary and sizes"),
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
def test_wrong_arguments(change, status, words, arguments, tmp_path, capsys):
    run = tmp_path / "run"
    try:
        found = main(["train", "--output-dir", str(run), *arguments, *change])
    except SystemExit as exit:
        found = exit.code
    assert found == status
    assert words.lower() in capsys.readouterr().err.lower()
    assert not run.exists()


def test_epochs_of_too_many_steps():
    with pytest.raises(FieldError, match=r"^epochs: 1e\+06 would be 6000000000 steps; expected at most 2147483647"):
        steps_of(1e6, 6000, 1)


@pytest.fixture
def no_model(monkeypatch):
    """Fails if a model would be built."""

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
def test_an_impossible_folder_is_noticed_at_once(place, words, no_model, arguments, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "closed").mkdir()
    touch = Path.touch

    def touch_unless_closed(path, **options):  # Root may write everywhere.
        if path.parent.name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        touch(path, **options)

    monkeypatch.setattr(Path, "touch", touch_unless_closed)
    assert main(["train", "--output-dir", str(tmp_path / place), *arguments, "--steps", "1"]) == 1
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
def test_sizes_that_are_none_are_named(content, words, no_model, arguments, tmp_path, capsys):
    sizes = tmp_path / "sizes.json"
    sizes.write_bytes(content)
    assert main(["train", "--output-dir", str(tmp_path / "run"), *arguments, "--sizes", str(sizes)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {sizes}: {words}")


@pytest.mark.parametrize(
    "change, words",
    [
        (None, "not readable JSON: too deeply nested"),
        ([], "expected an object of values by name, received []"),
        ({"dataset": "unc"}, "split: missing"),
        ({"colour": 1}, "colour: unknown name; expected some of dataset, "),
        ({"steps": "many"}, "steps: expected a whole number from 1 to 2147483647, received 'many'"),
        ({"model": {"image_size": 10**9}}, "model.image_size: expected a multiple of 8 from 8 to 4096, received 1000"),
    ],
)
def test_a_damaged_configuration_is_named(change, words, no_model, tmp_path, capsys):
    path = tmp_path / "config.json"
    config = change if change in ([], {"dataset": "unc"}) else {"dataset": "unc", "split": "train", **(change or {})}
    path.write_text("[" * 200_000 if change is None else json.dumps(config))
    assert main(["train", "--output-dir", str(tmp_path), "--resume"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {path}: {words}")


def test_a_medium_has_settings_of_its_own(squares):
    @dataclasses.dataclass(frozen=True)
    class OwnConfig(TrainConfig):
        heads: int = 5

    class OwnMedium(Pictures):
        train_config = OwnConfig

    options = argparse.Namespace(medium=OwnMedium(), dataset="unc", split="train", heads=7, epochs=1.0)
    config = train.make_config(options, None)
    assert type(config) is OwnConfig and config.heads == 7


@pytest.mark.slow
def test_epochs_count_samples(arguments, tmp_path):
    """Six samples, two at a time."""
    run = tmp_path / "run"
    assert main(["train", "--output-dir", str(run), *arguments, "--epochs", "1.5", "--rate-scaling", "sqrt"]) == 0
    config = read_config(run / "config.json")
    assert config.steps == 5
    assert config.initial_rate == pytest.approx(0.00025 * 2**0.5)


def test_masking_words_needs_a_vocabulary(arguments, small_model, tmp_path, capsys):
    save_model(CMPC(small_model.config), tmp_path / "mute.keras")
    start = [*arguments[:6], "--model", str(tmp_path / "mute.keras"), "--recipe", "maskris"]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *start]) == 1
    assert "--recipe masked masks words: give the vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_state_of_another_optimizer_is_refused(arguments, small_model_file, tmp_path, capsys):
    start = [*arguments[:6], "--model", str(small_model_file), "--optimizer", str(tmp_path / "state.npz")]
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
    assert "the state of the optimizer belongs to other weights or settings: adam/" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("eagerly")
def test_checkpoints_of_another_run_are_not_gone_on_with(arguments, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--output-dir", str(run), *arguments, "--steps", "1"]) == 0
    config = json.loads((run / "config.json").read_text())
    ancestor = {key: size for key, size in config["model"].items() if key not in ("word_parser_dim", "without")}
    for other in ({"model_name": "rrn", "model": ancestor}, {"model": {**config["model"], "fusion_dim": 7}}):
        (run / "config.json").write_text(json.dumps({**config, **other}))
        assert main(["train", "--output-dir", str(run), "--resume"]) == 1
        error = capsys.readouterr().err
        assert "checkpoints: holds a CMPC model with CMPCConfig(" in error and "put back the file" in error


def test_a_resume_without_a_run(tmp_path, capsys):
    assert main(["train", "--output-dir", str(tmp_path / "run"), "--resume"]) == 1
    assert "config.json: no such file; there is no run to resume" in capsys.readouterr().err


def test_batches_of_another_vocabulary_are_refused_before_a_run_starts(arguments, squares, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\n".join(WORDS[:5]) + "\n")
    start = [*arguments, "--vocabulary", str(tmp_path / "words.txt")]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *start]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "unc_train_0.npz: token ids do not fit the model, which has 5 words" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_broken_validation_loses_no_step(arguments, tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise InputError("val_0.npz: broken")

    run = tmp_path / "run"
    monkeypatch.setattr("cmpc_tf2.training.run.validate", broken)
    more = ["--steps", "2", "--checkpoint-every", "2", "--validation-split", "val"]
    assert main(["train", "--output-dir", str(run), *arguments, *more]) == 1
    assert "val_0.npz: broken" in capsys.readouterr().err
    assert (run / "checkpoints" / "step-000000002").is_dir()


def test_lines_that_are_taken_again_are_dropped(tmp_path):
    """A checkpoint was damaged, so the run goes on one before it."""
    (tmp_path / "log.csv").write_text("step,loss,val_overall_iou\n10,3,0.2\n20,2,0.5\n30,1,0.9\n")
    log = RunLog(tmp_path, 20)
    assert [row["step"] for row in read_log(tmp_path)] == ["10", "20"]
    assert not log.is_best({"val_overall_iou": 0.5}) and log.is_best({"val_overall_iou": 0.6})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 300,
        b"10,3,0.2\n20,2,0.5\n",
        b"step,loss,step\n10,3,10\n",
        b"step,loss\n10,3\n\x00\x00\n",
        b"step,loss\n10,3\n20\n",
        b"step,loss\n10,3,4\n",
        b"step,loss\n1.5,3\n",
        b"step,loss\n-1,3\n",
        b"step,loss\n,3\n",
        b"step,loss\n10,nan\n",
        b"step,loss\n10,three\n",
        b'step,loss\n10,"3\n',
        b"step,loss\n10,\xff\n",
        b"step,loss\n" + b"1" * 200_000 + b",3\n",
        None,
    ],
)
def test_a_damaged_log_is_set_aside(content, tmp_path, caplog):
    """The run goes on whatever is in it; it is kept, and so is the best model, whose score is unknown."""
    path = tmp_path / "log.csv"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    (tmp_path / "log.old.csv").write_text("earlier")
    (tmp_path / "best.keras").write_text("best")
    log = RunLog(tmp_path, 20)
    assert "a new log is begun, what was there is kept as log.old-2.csv, best.old.keras" in caplog.text
    assert content is None or (tmp_path / "log.old-2.csv").read_bytes() == content
    assert (tmp_path / "log.old.csv").read_text() == "earlier"
    assert (tmp_path / "best.old.keras").read_text() == "best" and not (tmp_path / "best.keras").exists()
    assert log.is_best({"val_overall_iou": 0.0})
    log.write({"step": 30, "loss": 2.5, "val_overall_iou": 0.0}, [])
    log = RunLog(tmp_path, 30)
    assert read_log(tmp_path) == [{"step": "30", "loss": "2.5", "val_overall_iou": "0.0"}]
    assert not log.is_best({"val_overall_iou": 0.0})


def test_lines_of_other_columns_go_together(tmp_path):
    """The log was begun by another version."""
    (tmp_path / "log.csv").write_text("step,loss\n10,3\n")
    RunLog(tmp_path, 10).write({"step": 20, "rate": 0.5}, [])
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss,rate", "10,3,", "20,,0.5"]
    RunLog(tmp_path, 10)
    assert read_log(tmp_path) == [{"step": "10", "loss": "3", "rate": ""}]


def test_what_is_no_checkpoint_is_left_alone(tmp_path):
    """Neither taken for one, nor counted among the last two, nor removed."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    others = [tmp_path / name for name in ("step-abc", "step-", "step-00000000x", "step-000000009")]
    for folder in others[:-1]:
        folder.mkdir()
    others[-1].write_text("a file")
    for step in (1, 2, 999_999_999, 1_000_000_000):
        save_training(tmp_path, step, model, optimizer)
    assert list(find_checkpoints(tmp_path)) == [999_999_999, 1_000_000_000]
    assert all(other.exists() for other in others)
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        load_training(tmp_path / "step-abc", CMPC)


@pytest.mark.parametrize(
    "header",
    [
        "(" * 200,
        "-" * 9000 + "1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,)}",
        "{'descr': '<U3', 'fortran_order': False, 'shape': ()}",
        "{'descr': '|O', 'fortran_order': False, 'shape': ()}",
        "[]",
    ],
)
def test_the_state_of_an_optimizer_with_a_made_up_header(header, tmp_path):
    content = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n" + bytes(12)
    with zipfile.ZipFile(tmp_path / "optimizer.npz", "w") as archive:
        archive.writestr("adam/iteration.npy", content)
    with pytest.raises(InputError, match=r"^\S*optimizer.npz: not the state of an optimizer[^\n]*$"):
        OptimizerState.from_file(tmp_path / "optimizer.npz")


@pytest.mark.usefixtures("eagerly")
def test_a_broken_batch_is_named(arguments, squares, tmp_path, capsys):
    copy = tmp_path / "unc" / "train_batch"
    copy.mkdir(parents=True)
    for path in (squares / "unc" / "train_batch").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damaged = bytearray((copy / "unc_train_3.npz").read_bytes())
    damaged[1000] ^= 0xFF
    (copy / "unc_train_3.npz").write_bytes(damaged)
    more = ["--batch-root", str(tmp_path), "--steps", "3"]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *arguments, *more]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {copy}/unc_train_3.npz: not a readable .npz file")
