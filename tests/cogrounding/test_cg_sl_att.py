"""CG-SL-Att. against the numbers of the original, in both forms."""

import numpy as np
import pytest
from keras import ops

from cmpc_tf2.inference.runner import ModelRunner
from cogrounding_original import (
    TINY_CLIPS,
    as_original,
    assert_outputs,
    assert_stages,
    assign_by_rule,
    normalize,
    picture_by_rule,
    read_golden,
    read_manifest,
    recording,
    scales_of,
)
from cogrounding_tf2.config import CoGroundingConfig
from cogrounding_tf2.conversion.names import video_pairs
from cogrounding_tf2.models.cg_sl_att import CGSLAtt

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def golden():
    return read_golden("video_tiny")


@pytest.fixture(scope="module")
def model():
    model = CGSLAtt(TINY_CLIPS, name="cg_sl_att")
    assign_by_rule(model.weights, video_pairs(TINY_CLIPS), read_manifest("video_tiny"))
    return model


@pytest.fixture(scope="module")
def pair_model(model):
    return model.training_form()


def inputs_of(golden, *clips: int, frames=slice(None)) -> dict:
    """The inputs of a batch of clips."""
    pictures = normalize(golden["frames"][list(clips)][:, frames])
    token_ids = golden["words"][list(clips)].astype("int32")
    return {"clip": ops.convert_to_tensor(pictures), "token_ids": ops.convert_to_tensor(token_ids)}


def assert_correlated(parity, outputs: dict, golden: dict, clip: int, row: int):
    for scale, found in enumerate(scales_of(outputs["visual"])):
        key = f"five/{clip}/correlated_{scale}"
        parity.within("CG-SL-Att., small: features", found[row], golden[key], TOLERANCE, name=key)


@pytest.mark.parametrize("clip", [0, 1, 2])
def test_outputs_of_one_clip(clip, model, golden, parity):
    outputs = model(inputs_of(golden, clip))
    assert_outputs(parity, "CG-SL-Att., small", outputs, golden, f"five/{clip}", TOLERANCE)
    assert_correlated(parity, outputs, golden, clip, 0)


def test_outputs_of_a_batch(model, golden, parity):
    outputs = model(inputs_of(golden, 0, 1, 2))
    for clip in range(3):
        assert_outputs(parity, "CG-SL-Att., small, a batch", outputs, golden, f"five/{clip}", TOLERANCE, row=clip)
        assert_correlated(parity, outputs, golden, clip, clip)


def test_pairs(pair_model, golden, parity):
    outputs = pair_model(inputs_of(golden, 0, 1, 2, frames=slice(1, 3)))
    for clip in range(3):
        rows = slice(2 * clip, 2 * clip + 2)
        assert_outputs(parity, "CG-SL-Att., small, pairs", outputs, golden, f"pair/{clip}", TOLERANCE, row=rows)


def test_one_pair(pair_model, golden, parity):
    outputs = pair_model(inputs_of(golden, 1, frames=slice(1, 3)))
    assert_outputs(parity, "CG-SL-Att., small, one pair", outputs, golden, "pair/1", TOLERANCE, row=slice(None))


def test_stages(model, golden, parity):
    """Of the frames and of what is joined: `#1` to `#3` are the middle frame with frames 1, 3 and 4."""
    with recording() as recorded:
        model(inputs_of(golden, 0))
    prefix, others = "five/0/stage/", ("darknet_", "corr_")
    assert assert_stages(parity, "CG-SL-Att., small: stages", recorded, golden, prefix, others) == 19
    for scale in range(3):
        joined = np.maximum(recorded[f"corr_conv.{scale}.0/bn"], 0)[0]  # (frames, P, D)
        for frame, end in enumerate(("", "#1", "#2", "#3")):
            expected = golden[f"{prefix}corr_conv_{scale}{end}"][0]
            found = joined[frame].T.reshape(expected.shape)
            parity.within("CG-SL-Att., small: frames joined", found, expected, 1e-5, expected.max(), str(scale))


def test_stages_of_a_pair(pair_model, golden, parity):
    with recording() as recorded:
        pair_model(inputs_of(golden, 0, frames=slice(1, 3)))
    for scale in range(3):
        expected = golden[f"pair/0/stage/corr_conv_{scale}"]
        joined = np.maximum(recorded[f"corr_conv.{scale}.0/bn"], 0)[0]
        found = joined.swapaxes(1, 2).reshape(expected.shape)
        parity.within("CG-SL-Att., small: pairs joined", found, expected, 1e-5, expected.max(), str(scale))


def test_the_pair_model_shares_the_weights(model, pair_model):
    assert {id(variable) for variable in pair_model.weights} == {id(variable) for variable in model.weights}


def test_every_parameter_has_a_place(model):
    pairs = video_pairs(TINY_CLIPS)
    assert sorted(pair.keras for pair in pairs) == sorted(variable.path for variable in model.weights)
    assert {pair.torch for pair in pairs} == read_manifest("video_tiny").keys()
    assert {pair.torch for pair in video_pairs(CoGroundingConfig())} == read_manifest("video_full").keys()


@pytest.mark.slow
def test_full_size(parity):
    golden, config = read_golden("full"), CoGroundingConfig()
    model = CGSLAtt(config)
    assign_by_rule(model.weights, video_pairs(config), read_manifest("video_full"))
    frames = normalize(np.stack([picture_by_rule(10, 8 * frame) for frame in range(5)])[None])
    words = golden["words"][None].astype("int32")
    inputs = {"clip": ops.convert_to_tensor(frames), "token_ids": ops.convert_to_tensor(words)}
    outputs = model(inputs)
    assert_outputs(parity, "CG-SL-Att., full size", outputs, golden, "video", 5e-5)
    confidences = np.asarray(outputs["box_logits"])[0, :, 4]
    assert np.argsort(-confidences)[:5].tolist() == golden["video/top5_index"].tolist()


def test_frames_are_encoded_once(model, golden, parity, monkeypatch):
    """Clips that share frames, in the form for inference."""
    runner = ModelRunner(model)
    counts = []
    encode = runner._encode._encode
    monkeypatch.setattr(runner._encode, "_encode", lambda frames: counts.append(len(frames)) or encode(frames))
    frames = golden["frames"][0]
    shifted = np.concatenate([frames[1:], frames[-1:]])
    for clip, count in ((frames, 5), (frames, 0), (shifted, 0), (golden["frames"][1], 5)):
        counts.clear()
        runner.encode(clip[None])
        assert sum(counts) == count
    text = {"token_ids": golden["words"][:1].astype("int32")}
    answers = runner.decode(runner.encode(frames[None]), text)
    for scale, found in enumerate(as_original(answers["box_logits"])):
        key = f"five/0/pred_{scale}"
        parity.within("CG-SL-Att., small, for inference", found[0], golden[key], TOLERANCE, name=key)
