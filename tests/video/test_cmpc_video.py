"""The video model against the original's numbers, alone and in batches."""

import json
import re

import keras
import numpy as np
import pytest

from cmpc_tf2.conversion.tf1 import convert_back
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.model_files import load_model
from cmpc_tf2.training.checkpoints import OptimizerState
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer
from cmpc_video_tf2.config import VideoTrainConfig
from cmpc_video_tf2.conversion import video_pairs
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from convert_tf1_ckpt import main
from original import checkpoint_values, convert_by_command, read_manifest, write_checkpoint
from reuse import loading_once
from small import subtract_mean

OUTPUTS = {"mask_logits_c3": "up_c3", "mask_logits_c4": "up_c4", "mask_logits_c5": "up_c5"}
SAMPLES = range(3)
LOGITS = "video model: logits of 3 samples, each alone and in one batch"
STAGES = "video model: 18 stages, relative to each one's largest value"


@pytest.fixture(scope="module")
def converted(video_prefix, tmp_path_factory):
    """The model file and the conversion report."""
    path = tmp_path_factory.mktemp("video") / "video.keras"
    return path, convert_by_command(video_prefix, path)[0]


@pytest.fixture(scope="module")
def model(converted):
    with loading_once():
        return load_model(converted[0], CMPCVideo)


@pytest.fixture(scope="module")
def inputs(video_golden):
    return {
        "clip": np.stack([subtract_mean(video_golden[f"{k}/clip"]) for k in SAMPLES]),
        "token_ids": np.stack([video_golden[f"{k}/words"] for k in SAMPLES]),
    }


@pytest.fixture(scope="module")
def outputs(model, inputs):
    """Outputs for each sample alone, and for all in one batch."""
    alone = [model({name: value[k : k + 1] for name, value in inputs.items()}) for k in SAMPLES]
    batch = model(inputs)
    return alone, batch


@pytest.mark.parametrize("sample", SAMPLES)
def test_outputs_equal_the_originals_alone_and_in_a_batch(sample, outputs, video_golden, parity):
    alone, batch = outputs
    for logits in (alone[sample], {name: value[sample : sample + 1] for name, value in batch.items()}):
        coarse = np.asarray(logits["mask_logits"])[0, ::8, ::8]  # Upsampling keeps the grid's own points.
        parity.within(LOGITS, coarse, video_golden[f"{sample}/pred"], 1e-5)
        for ours, theirs in OUTPUTS.items():
            parity.within(LOGITS, logits[ours][0], video_golden[f"{sample}/{theirs}"], 1e-5)


def test_stages_equal_the_originals(model, inputs, video_golden, parity):
    """Each within 1e-5 of its largest value."""
    names = {"conv_lstm": "convlstm"}
    for level in ("c3", "c4", "c5"):
        names |= {f"mutan_{level}": f"mutan_{level}", f"temporal_graph_{level}": f"temporal_graph_{level}"}
        names |= {f"temporal_context_{level}": f"temporal_context_{level}", f"fusion_{level}": f"fusion_{level}"}
        names |= {f"relation_graph_{level}": f"graph_{level}"}
    decoder = model.expression_decoder
    stages = keras.Model(decoder.input, {name: decoder.get_layer(name).output for name in names})
    token_ids = keras.ops.convert_to_tensor(inputs["token_ids"])
    features = {**model.image_encoder(inputs["clip"]), "token_ids": token_ids}
    found = stages(features)
    for ours, theirs in names.items():
        expected = video_golden[f"0/{theirs}"]
        value = np.asarray(found[ours])[0].reshape(expected.shape)
        parity.within(STAGES, value, expected, 1e-5, scale=np.abs(expected).max(), name=theirs)


def test_the_report_accounts_for_every_variable(converted, video_values):
    report = converted[1]
    assert report["model"] == "cmpc_video" and report["missing"] == report["unexpected"] == []
    names = [entry["tf1"] for entry in report["converted"] + report["ignored"]]
    assert sorted(names) == sorted(video_values)
    assert len(read_manifest("video_full_train")) == 1330


def test_names_at_full_size_are_the_originals():
    from cmpc_video_tf2.config import CMPCVideoConfig

    weights = {name for name in read_manifest("video_full_train") if "Adam" not in name and "_power" not in name}
    assert {pair.tf1 for pair in video_pairs(CMPCVideoConfig())} == weights - {"text_objseg/Variable_1"}


def test_converting_back_gives_the_same_bytes(converted, video_values, tmp_path):
    with loading_once():
        count = convert_back(str(converted[0]), str(tmp_path / "back"))
    checkpoint = TF1Checkpoint(str(tmp_path / "back"))
    assert count == len(checkpoint.shapes)
    for name in checkpoint.shapes:
        assert checkpoint.read(name).tobytes() == video_values[name].tobytes(), name


def test_the_adam_state_is_converted(video_values, tmp_path):
    """The backbone, which has no state, has one bottleneck in each stage."""
    later = re.compile(r"(res|bn)\d[b-z]")
    write_checkpoint(str(tmp_path / "trained"), {n: value for n, value in video_values.items() if not later.match(n)})
    options = ["--output", str(tmp_path / "video.keras"), "--optimizer", str(tmp_path / "adam.npz")]
    assert main(["--checkpoint", str(tmp_path / "trained"), *options]) == 0
    trainer = Trainer(load_model(tmp_path / "video.keras", CMPCVideo), VideoTrainConfig("a2d", "train"))
    state = OptimizerState.from_file(tmp_path / "adam.npz")
    state.restore(trainer.base_optimizer)
    slots = [path for path in state.values if path.endswith("_momentum")]
    assert len(slots) == len(trainer.trainable_variables) and any("temporal_graph_c4_query" in path for path in slots)


@pytest.mark.slow
def test_a_full_size_checkpoint_round_trip(tmp_path, parity):
    """All 1330 variables are accounted for, and the weights come back byte for byte."""
    values = checkpoint_values("video_full_train")
    write_checkpoint(str(tmp_path / "a2d.tfmodel"), values)
    model, report_file = tmp_path / "video.keras", tmp_path / "report.json"
    options = ["--output", str(model), "--report", str(report_file)]
    assert main(["--checkpoint", str(tmp_path / "a2d.tfmodel"), *options]) == 0
    report = json.loads(report_file.read_text())
    names = [entry["tf1"] for entry in report["converted"] + report["ignored"]]
    assert len(names) == 1330 and sorted(names) == sorted(values) and all(entry["why"] for entry in report["ignored"])
    assert main(["--to-tf1", "--model", str(model), "--output", str(tmp_path / "back")]) == 0
    checkpoint = TF1Checkpoint(str(tmp_path / "back"))
    assert set(checkpoint.shapes) == {entry["tf1"] for entry in report["converted"]}
    for name in checkpoint.shapes:
        assert checkpoint.read(name).tobytes() == values[name].tobytes(), name
    parity.counted("variables of the video model at full size, accounted for; weights back", "equal bytes", len(names))


def test_six_steps_follow_the_originals(converted, video_golden, parity):
    model = load_model(converted[0], CMPCVideo)
    trainer = Trainer(model, TrainConfig("a2d", "train"))
    totals = []
    for step in range(6):
        k = step % 3
        clip = subtract_mean(video_golden[f"{k}/clip"])[None]
        mask = video_golden[f"{k}/mask"][None, ..., None].astype("float32")
        trainer.reset_metrics()
        inputs = {"clip": clip, "token_ids": video_golden[f"{k}/words"][None]}
        totals.append(float(trainer.train_on_batch(inputs, mask, return_dict=True)["loss"]))
    columns = video_golden["train/columns"].tolist()
    expected = video_golden["train/trajectory"][:, columns.index("total")]
    parity.within("video model: losses of six training steps, relative", totals / expected, np.ones(6), 1e-5)
    coarse = model({"clip": subtract_mean(video_golden["0/clip"])[None], "token_ids": video_golden["0/words"][None]})
    coarse = np.asarray(coarse["mask_logits"])[0, ::8, ::8]
    parity.within("video model: coarse logits after them", coarse, video_golden["train/pred_end"], 1e-5)
