"""CG-SL-Att. against the numbers of the original, in both forms."""

import pytest
from keras import ops

from cogrounding_original import (
    TINY_CLIPS,
    assert_outputs,
    assign_by_rule,
    normalize,
    read_golden,
    read_manifest,
    scales_of,
)
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
    return model.pair_model()


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
