"""Training runs that were stopped, killed or damaged, and resumed."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from conftest import ROOT
from killing import killed_at, run_killed
from small import weights_of


def assert_equal_weights(*runs: Path):
    """Asserts that the last models of two runs are equal to the bit."""
    expected, found = (load_model(run / "last.keras").get_weights() for run in runs)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_killed_run_ends_with_the_same_weights(share, squares, small_model_file, tmp_path):
    """Killed at a file operation, at the start or later, and again early after it was resumed."""
    start = ["train", "-d", "unc", "-t", "train", "--batch-root", str(squares), "--model", str(small_model_file)]
    start += ["-bs", "2", "--steps", "4", "--checkpoint-every", "2", "--output-dir"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with killed_at(whole, None) as switch:
        assert main([*start, str(whole)]) == 0
    for at in (int(share * switch.count), 2, None):
        is_started = (killed / "config.json").exists()
        command = ["train", "--resume", "--output-dir", str(killed)] if is_started else [*start, str(killed)]
        with killed_at(killed, at):
            assert main(command) == 0
    assert_equal_weights(whole, killed)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(train_options, tmp_path, monkeypatch):
    """The weights are equal to the bit. The run stops between checkpoints; steps since the last one are repeated."""
    more = ["--steps", "7", "--checkpoint-every", "3"]
    assert main(["train", "--output-dir", str(tmp_path / "whole"), *train_options, *more]) == 0

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
        assert main(["train", "--output-dir", str(tmp_path / "stopped"), *train_options, *more]) == 130
    assert main(["train", "--output-dir", str(tmp_path / "stopped"), "--resume"]) == 0
    assert_equal_weights(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_killed_runs_equal_an_uninterrupted_one(train_options, tmp_path):
    """Killed three times by SIGKILL, between the files of checkpoints."""
    more = ["--steps", "20", "--checkpoint-every", "5"]
    command = ["-m", "cmpc_tf2", "train", "--output-dir"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    assert main(["train", "--output-dir", str(tmp_path / "whole"), *train_options, *more]) == 0
    killed = tmp_path / "killed"
    start = [*command, str(killed), *train_options, *more]
    for at in (13, 8, 12):
        run_killed(killed, at, start, cwd=ROOT, env=environment)
        start = [*command, str(killed), "--resume"]
    assert main(["train", "--output-dir", str(killed), "--resume"]) == 0
    assert_equal_weights(tmp_path / "whole", killed)


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(train_options, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--output-dir", str(run), *train_options, "--steps", "4", "--checkpoint-every", "2"]) == 0
    expected = weights_of(load_model(run / "last.keras"))
    for newest, content in (("model.keras", b"damaged"), ("optimizer.npz", b"")):
        (run / "last.keras").unlink()
        (run / "checkpoints" / "step-000000004" / newest).write_bytes(content)
        assert main(["train", "--output-dir", str(run), "--resume"]) == 0
        assert "step-000000004: damaged, trying the one before" in capsys.readouterr().err
        for path, value in weights_of(load_model(run / "last.keras")).items():
            np.testing.assert_array_equal(value, expected[path])


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test if a model is built."""

    def build(*_, **__):
        raise AssertionError("too late")

    monkeypatch.setattr("cmpc_tf2.training.run.train", build)


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
def test_a_damaged_configuration_is_reported(change, words, no_model, tmp_path, capsys):
    path = tmp_path / "config.json"
    config = change if change in ([], {"dataset": "unc"}) else {"dataset": "unc", "split": "train", **(change or {})}
    path.write_text("[" * 200_000 if change is None else json.dumps(config))
    assert main(["train", "--output-dir", str(tmp_path), "--resume"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {path}: {words}")


@pytest.mark.usefixtures("eagerly")
def test_interrupted_and_finished_runs_say_how_to_go_on(train_options, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    resume = ["train", "--output-dir", str(run), "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr("cmpc_tf2.training.run.take_steps", stop)
        assert main(["train", "--output-dir", str(run), *train_options, "--steps", "1"]) == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"{run}: last checkpoint: step 0; --resume continues there",
        "interrupted",
    ]
    assert main(resume) == 0
    capsys.readouterr()
    assert main(resume) == 0
    last = run / "last.keras"
    more = f"to train on, start a new run with --model {last}"
    assert capsys.readouterr().out == f"{last}: 1 steps, all taken before; {more}\n"


@pytest.mark.usefixtures("eagerly")
def test_checkpoints_of_another_run_are_not_resumed(train_options, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--output-dir", str(run), *train_options, "--steps", "1"]) == 0
    config = json.loads((run / "config.json").read_text())
    ancestor = {key: size for key, size in config["model"].items() if key not in ("word_parser_dim", "without")}
    for other in ({"model_name": "rrn", "model": ancestor}, {"model": {**config["model"], "fusion_dim": 7}}):
        (run / "config.json").write_text(json.dumps({**config, **other}))
        assert main(["train", "--output-dir", str(run), "--resume"]) == 1
        error = capsys.readouterr().err
        assert "checkpoints: holds a CMPC model with CMPCConfig(" in error and "put back the file" in error


def test_without_a_run_there_is_nothing_to_resume(tmp_path, capsys):
    assert main(["train", "--output-dir", str(tmp_path / "run"), "--resume"]) == 1
    assert "config.json: no such file; there is no run to resume" in capsys.readouterr().err


@pytest.mark.slow
def test_a_broken_validation_loses_no_step(train_options, tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise InputError("val_0.npz: broken")

    run = tmp_path / "run"
    monkeypatch.setattr("cmpc_tf2.training.run_data.SampleData.validate", broken)
    more = ["--steps", "2", "--checkpoint-every", "2", "--validation-split", "val"]
    assert main(["train", "--output-dir", str(run), *train_options, *more]) == 1
    assert "val_0.npz: broken" in capsys.readouterr().err
    assert (run / "checkpoints" / "step-000000002").is_dir()
