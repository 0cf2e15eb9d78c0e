"""Parts of MaskRIS, and their folded products against the plain formulas."""

import math

import numpy as np
import pytest
from scipy.special import softmax

from cmpc_tf2.models.maskris.attention import FewKeysAttention, FewQueriesAttention, masked_softmax
from cmpc_tf2.models.maskris.head import ClassScores
from cmpc_tf2.models.maskris.positions import sine_positions
from cmpc_tf2.models.maskris.prompts import pooling_matrix

HEADS, HEAD_DIM, CHANNELS = 3, 5, 6


def randomize(layer, rng):
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))
    return {variable.path.split("/", 1)[1]: np.asarray(variable) for variable in layer.weights}


def heads_of(x, weights, name):
    projected = x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
    return projected.reshape(*x.shape[:2], HEADS, HEAD_DIM).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("layer_type", [FewQueriesAttention, FewKeysAttention])
@pytest.mark.parametrize("masked", [False, True])
def test_folded_attention_equals_the_plain_formula(layer_type, masked, rng):
    queries = rng.normal(size=(2, 4, CHANNELS)).astype("float32")
    keys = rng.normal(size=(2, 7, CHANNELS)).astype("float32")
    values = rng.normal(size=(2, 7, CHANNELS)).astype("float32")
    is_token = np.arange(7) < np.array([[3], [7]]) if masked else None
    layer = layer_type(HEADS, HEAD_DIM, name="attention")
    layer(queries, keys, values, is_token)
    weights = randomize(layer, rng)
    query, key, value = (heads_of(x, weights, f"{n}_proj") for x, n in ((queries, "q"), (keys, "k"), (values, "v")))
    scores = query @ key.swapaxes(2, 3) / math.sqrt(HEAD_DIM)
    if masked:
        scores = np.where(is_token[:, None, None], scores, -np.inf)
    attended = (softmax(scores, axis=-1) @ value).transpose(0, 2, 1, 3).reshape(2, 4, HEADS * HEAD_DIM)
    expected = attended @ weights["out_proj/kernel"] + weights["out_proj/bias"]
    np.testing.assert_allclose(layer(queries, keys, values, is_token), expected, rtol=1e-4, atol=1e-4)


def test_scores_are_bounded():
    scores = np.array([[3e38, 60_000.0, 49_999.0]], "float32")
    np.testing.assert_allclose(masked_softmax(scores, None), [softmax([1.0, 1.0, 0.0])], rtol=1e-6)


def test_folded_scores_equal_the_plain_formula(rng):
    features = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    embeddings = rng.normal(size=(2, 2, 7)).astype("float32")
    layer = ClassScores(7, name="scores")
    layer(features, embeddings)
    weights = randomize(layer, rng)
    projected = features @ weights["kernel"][0, 0] + weights["bias"]
    expected = np.einsum("byxc,bkc->byxk", projected, embeddings)
    np.testing.assert_allclose(layer(features, embeddings), expected, rtol=1e-4, atol=1e-4)


def test_sine_positions():
    """Row 2 of 3 and column 1 of 4, of 8 channels: rows first, sines even, periods growing by pairs."""
    positions = sine_positions(3, 4, 8)
    row, column = (2 * math.pi * (i + 1) / (n + 1e-6) for i, n in ((2, 3), (1, 4)))
    expected = [f(angle / period) for angle in (row, column) for period in (1, 100) for f in (math.sin, math.cos)]
    np.testing.assert_allclose(positions[2, 1], expected, atol=1e-7)


def test_epsilon_of_the_sine():
    """The angle of the last row is just below a full turn: goldens do not tell 1e-6 from 0."""
    np.testing.assert_allclose(sine_positions(3, 4, 8)[2, :, 0], -2 * math.pi * 1e-6 / 3, rtol=1e-3)


def test_pooling_bins_overlap_on_odd_grids():
    np.testing.assert_allclose(pooling_matrix(5, 2) * 3, [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    np.testing.assert_allclose(pooling_matrix(1, 2), [[1], [1]])
    np.testing.assert_allclose(pooling_matrix(6, 2) * 3, [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
