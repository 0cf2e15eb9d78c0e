"""Training runs on 32 x 32 batches with a small model."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.cli import main
from cmpc_tf2.commands.train import read_config
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.processes import locked
from cmpc_tf2.training.config import TrainConfig
from small import SMALL, WORDS, weights_of


def test_a_run_learns_and_leaves_its_files(train_options, squares, tmp_path, capsys):
    run = tmp_path / "run"
    more = ["--steps", "30", "--checkpoint-every", "10", "--validation-split", "val", "-lr", "0.002"]
    assert main(["train", "--output-dir", str(run), *train_options, *more]) == 0
    assert capsys.readouterr().out.startswith(f"{run}/last.keras: 30 steps, loss ")
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [10, 20, 30]
    assert float(rows[2]["loss"]) < 0.9 * float(rows[0]["loss"])
    assert {"mask_logits_loss", "mask_logits_c3_loss", "learning_rate", "val_overall_iou", "val_precision_0.5"} <= set(
        rows[0]
    )
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"learning_rate", "loss", "val_overall_iou", "validation_0", "validation_1"} <= set(events.Tags()["tensors"])
    names = {path.name for path in run.iterdir()}
    assert names == {"best.keras", "checkpoints", "config.json", "last.keras", "log.csv", "tensorboard"}
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-000000020", "step-000000030"]
    config = TrainConfig(**json.loads((run / "config.json").read_text()))
    assert config.steps == 30 and config.model == CMPCConfig(**json.loads((squares / "sizes.json").read_text()))
    model = load_model(run / "best.keras")
    assert model.vocabulary == WORDS and not model.compiled

    assert main(["train", "--output-dir", str(run), *train_options]) == 1
    assert "holds a run already; --resume resumes it" in capsys.readouterr().err


def test_one_process_at_a_time_trains_in_a_folder(train_options, tmp_path, capsys):
    run = tmp_path / "run"
    with locked(tmp_path / ".run.lock", "here"):
        assert main(["train", "--output-dir", str(run), *train_options, "--steps", "1"]) == 1
    message = f"{run}: another process is training there; wait until it has ended, or give another --output-dir"
    assert message in capsys.readouterr().err
    assert not run.exists()


@pytest.mark.slow
def test_initial_weights_come_from_the_given_files(train_options, tmp_path, small_model_file):
    backbone = DeepLabResNet(SMALL.backbone, name="backbone")
    save_model(backbone, tmp_path / "backbone.keras")
    table = np.random.default_rng(0).normal(size=(len(WORDS), SMALL.embedding_dim)).astype("float32")
    np.save(tmp_path / "emb.npy", table)
    start = ["--backbone", str(tmp_path / "backbone.keras"), "--embeddings", str(tmp_path / "emb.npy")]
    # With a rate this small the first step moves nothing.
    step = ["--steps", "1", "-lr", "1e-30", "--decay-steps", "1000000000"]
    assert main(["train", "--output-dir", str(tmp_path / "a"), *train_options, *start, *step]) == 0
    trained = weights_of(load_model(tmp_path / "a" / "last.keras"))
    np.testing.assert_array_equal(trained["conv1/kernel"], backbone.get_layer("conv1").kernel)
    np.testing.assert_allclose(trained["text_encoder/embedding"], table, atol=1e-5)
    others = [*train_options[:6], "-bs", "2", "--model", str(small_model_file)]
    assert main(["train", "--output-dir", str(tmp_path / "b"), *others, *step]) == 0
    first, last = (weights_of(load_model(file)) for file in (small_model_file, tmp_path / "b" / "last.keras"))
    np.testing.assert_array_equal(last["conv1/kernel"], first["conv1/kernel"])
    assert json.loads((tmp_path / "b" / "config.json").read_text())["model"] == SMALL.to_dict()


@pytest.mark.usefixtures("eagerly")
def test_a_nan_loss_reports_its_samples(train_options, squares, tmp_path, monkeypatch, capsys):
    from cmpc_tf2.recipes import losses

    call = losses.SummedCrossEntropy.call
    # 0 / 0 where the mask covers the corner: none of the squares does, so poison every sample.
    monkeypatch.setattr(losses.SummedCrossEntropy, "call", lambda self, y, x: call(self, y, x) * tf.constant(np.nan))
    assert main(["train", "--output-dir", str(tmp_path / "run"), *train_options, "--steps", "3"]) == 1
    error = capsys.readouterr().err
    assert "error: step 0: the loss is nan; its samples: unc_train_" in error
    assert error.count("unc_train_") == 2


@pytest.mark.slow
def test_epochs_count_samples(train_options, tmp_path):
    """Six samples in batches of two."""
    run = tmp_path / "run"
    assert main(["train", "--output-dir", str(run), *train_options, "--epochs", "1.5", "--rate-scaling", "sqrt"]) == 0
    config = read_config(run / "config.json")
    assert config.steps == 5
    assert config.initial_rate == pytest.approx(0.00025 * 2**0.5)


@pytest.mark.usefixtures("eagerly")
def test_a_broken_batch_is_reported(train_options, squares, tmp_path, capsys):
    copy = tmp_path / "unc" / "train_batch"
    copy.mkdir(parents=True)
    for path in (squares / "unc" / "train_batch").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damaged = bytearray((copy / "unc_train_3.npz").read_bytes())
    damaged[1000] ^= 0xFF
    (copy / "unc_train_3.npz").write_bytes(damaged)
    more = ["--batch-root", str(tmp_path), "--steps", "3"]
    assert main(["train", "--output-dir", str(tmp_path / "run"), *train_options, *more]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {copy}/unc_train_3.npz: not a readable .npz file")
