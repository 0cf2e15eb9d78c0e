"""Parts of MaskRIS, and their folded products against the plain formulas."""

import math

import numpy as np
import pytest
from keras import layers
from scipy.special import softmax

from cmpc_tf2.models.maskris.attention import FewKeysAttention, FewQueriesAttention, masked_softmax
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.models.maskris.head import ClassScores
from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.models.maskris.positions import sine_positions
from cmpc_tf2.models.maskris.prompts import pooling_matrix
from maskris_original import TINY

HEADS, HEAD_DIM, CHANNELS = 3, 5, 6


def test_every_norm_has_the_epsilon_of_the_original():
    """1e-12 in BERT and 1e-5 everywhere else; most of the goldens do not tell one norm's 1e-5 from 1e-6."""
    model = MaskRIS(TINY)
    epsilons = {
        layer.path: layer.epsilon
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, (layers.LayerNormalization, layers.GroupNormalization))
    }
    expected = {
        path: 1e-12 if path.startswith("lang_encoder/") else 1e-5
        for path in (variable.path.rpartition("/")[0] for variable in model.weights if variable.path.endswith("/gamma"))
    }
    assert epsilons == expected and len(epsilons) == 52


def test_published_sizes():
    """Those that the shapes of the weights do not tell are part of no manifest."""
    found = MaskRISConfig().to_dict()
    swin, bert = found.pop("swin"), found.pop("bert")
    assert swin == {
        "width": 128, "depths": [2, 2, 18, 2], "heads": [4, 8, 16, 32], "window": 7,
    }  # fmt: skip
    assert bert == {
        "width": 768, "layers": 12, "heads": 12, "intermediate": 3072, "vocabulary_size": 30_522, "positions": 512,
    }  # fmt: skip
    assert found == {
        "image_size": 448, "vocabulary_size": 30_522, "max_words": 20, "feature_dim": 256, "output_dim": 256,
        "decoder_layers": 6, "decoder_heads": 8, "head_dim": 128, "points": 4, "mlp_dim": 1024, "groups": 32,
        "prompts": 5,
    }  # fmt: skip


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
    np.testing.assert_allclose(masked_softmax(-scores, None), [softmax([0.0, 0.0, 1.0])], rtol=1e-6)


def test_masked_keys_have_no_weight_even_next_to_the_lowest_scores():
    scores, is_token = np.full((1, 3), -60_000.0, "float32"), np.array([[True, False, True]])
    np.testing.assert_allclose(masked_softmax(scores, is_token), [[0.5, 0, 0.5]])


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
