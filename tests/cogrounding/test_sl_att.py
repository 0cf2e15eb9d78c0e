"""SL-Att. against the numbers of the original, and properties of the whole model."""

import numpy as np
import pytest
from keras import ops

from cogrounding_original import (
    TINY,
    assert_outputs,
    assign_by_rule,
    normalize,
    read_golden,
    read_manifest,
)
from cogrounding_tf2.conversion.names import image_pairs
from cogrounding_tf2.models.sl_att import SLAtt

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def golden():
    return read_golden("image_tiny")


@pytest.fixture(scope="module")
def model():
    model = SLAtt(TINY, name="sl_att")
    assign_by_rule(model.weights, image_pairs(TINY), read_manifest("image_tiny"))
    return model


def inputs_of(golden, *samples: int) -> dict:
    """The inputs of a batch of samples."""
    images = normalize(np.stack([golden[f"{sample}/image"] for sample in samples]))
    token_ids = np.stack([golden[f"{sample}/words"] for sample in samples]).astype("int32")
    return {"image": ops.convert_to_tensor(images), "token_ids": ops.convert_to_tensor(token_ids)}


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_outputs_of_one_sample(sample, model, golden, parity):
    outputs = model(inputs_of(golden, sample))
    assert_outputs(parity, "SL-Att., small", outputs, golden, str(sample), TOLERANCE)


def test_outputs_of_a_batch(model, golden, parity):
    outputs = model(inputs_of(golden, 0, 1, 2))
    for sample in range(3):
        assert_outputs(parity, "SL-Att., small, a batch", outputs, golden, str(sample), TOLERANCE, row=sample)
