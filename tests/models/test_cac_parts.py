"""Parts of CAC: regions, filters, the captioner; what the goldens do not tell."""

import json

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from cac_original import tiny_config
from cmpc_tf2.fields import FieldError
from cmpc_tf2.models.cac.captioner import Captioner, pool_to_grid
from cmpc_tf2.models.cac.config import CACConfig, CaptionerConfig
from cmpc_tf2.models.cac.filters import SentenceFilters, region_masks
from cmpc_tf2.text.phrases import SentenceEncoder

WORDS = 9
SIZES = CaptionerConfig(units=4, word_dim=5, attention_dim=3)


@pytest.mark.parametrize("height, width", [(4, 8), (5, 13), (8, 8), (1, 1), (3, 2), (7, 6)])
def test_regions(height, width):
    """As the original draws them: fractions are cut, also of an odd side."""
    expected = np.zeros((7, height, width))
    expected[0] = 1
    expected[1, : int(height / 2)] = 1
    expected[2, int(height / 2) :] = 1
    expected[3, :, : int(width / 2)] = 1
    expected[4, :, int(width / 2) :] = 1
    expected[5, int(height / 4) : int(height * 3 / 4)] = 1
    expected[6, :, int(width / 4) : int(width * 3 / 4)] = 1
    np.testing.assert_array_equal(np.moveaxis(region_masks(height, width), -1, 0), expected)


def randomized(layer, rng) -> dict[str, np.ndarray]:
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))
    return {variable.path.split("/", 1)[1]: np.asarray(variable) for variable in layer.weights}


@pytest.mark.parametrize("variant", ["baseline", "spatial", "response"])
def test_filters_are_convolutions_of_masked_maps(variant, rng):
    """One product, masked afterwards, is the same as seven convolutions of masked maps."""
    layer = SentenceFilters(variant, name="filters")
    features, hidden = np.float32(rng.normal(size=(1, 5, 6, 8))), np.float32(rng.normal(size=(3, 4)))
    layer.build(features.shape, hidden.shape)
    weights = randomized(layer, rng)
    seen = layer(features, hidden)
    masks = np.asarray(region_masks(5, 6))
    names = ["dynamic_fc"] if variant == "baseline" else [f"dynamic_fc_{index}" for index in range(7)]
    for row in range(3):
        total = 0
        for index, name in enumerate(names):
            kernel = np.tanh(hidden[row] @ weights[f"{name}/kernel"] + weights[f"{name}/bias"])
            response = (features[0] * masks[..., index, None]) @ kernel
            np.testing.assert_allclose(seen["responses"][row, ..., index], response, atol=1e-5)
            gates = [1.0]
            if variant != "baseline":
                gates = np.tanh(hidden[row] @ weights["response_fc/kernel"] + weights["response_fc/bias"])
            total = total + gates[index] * response
        np.testing.assert_allclose(seen["response"][row], total, atol=1e-5)
        factor = expit(total) if variant == "response" else total
        np.testing.assert_allclose(seen["weighted"][row], features[0] * factor[..., None], atol=1e-4)


def test_pooling_to_a_grid(rng):
    """Bins overlap where they have to, and a small map is enlarged."""
    features = np.float32(rng.normal(size=(2, 9, 20, 3)))
    found = pool_to_grid(features)
    for row in range(14):
        for column in range(14):
            top, bottom = row * 9 // 14, int(np.ceil((row + 1) * 9 / 14))
            left, right = column * 20 // 14, int(np.ceil((column + 1) * 20 / 14))
            expected = features[:, top:bottom, left:right].mean(axis=(1, 2))
            np.testing.assert_allclose(found[:, row, column], expected, atol=1e-6)


@pytest.fixture
def captioner(rng):
    layer = Captioner(SIZES, WORDS, name="caption_model")
    layer.build((None, 6, 7), (None, 3))
    return layer, randomized(layer, rng)


def caption_by_hand(cells, token_ids, weights) -> np.ndarray:
    """The log-probabilities of one sentence, word by word."""

    def linear(name, x):
        return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    cells = np.maximum(linear("att_embed.0", cells), 0)
    h = c = np.zeros(SIZES.units)
    rows = []
    for word in [0, *token_ids]:
        x = np.maximum(weights["embed.0/embeddings"][word], 0)
        energies = linear(
            "core.attention.alpha_net", np.tanh(linear("ctx2att", cells) + linear("core.attention.h2att", h))
        )
        seen = softmax(energies[:, 0]) @ cells
        i, f, o, first, second = np.split(linear("core.i2h", x) + linear("core.h2h", h), 5)
        more, others = np.split(linear("core.a2c", seen), 2)
        c = expit(f) * c + expit(i) * np.maximum(first + more, second + others)
        h = expit(o) * np.tanh(c)
        rows.append(log_softmax(linear("logit", h)))
    return np.stack(rows)


def test_the_captioner_word_by_word(captioner, rng):
    layer, weights = captioner
    cells, token_ids = np.float32(rng.normal(size=(2, 6, 7))), np.array([[3, 1, 8], [2, 0, 0]])
    found = np.asarray(layer(cells, token_ids))
    assert found.shape == (2, 4, WORDS)
    for row in range(2):
        np.testing.assert_allclose(found[row], caption_by_hand(cells[row], token_ids[row], weights), atol=1e-4)


def test_dropout_of_the_captioner(captioner, rng):
    """Half of the cells, of the words and of the outputs, in training only."""
    layer, _ = captioner
    cells, token_ids = np.float32(rng.normal(size=(1, 6, 7))), np.array([[3, 1, 8]])
    still = np.asarray(layer(cells, token_ids))
    np.testing.assert_array_equal(layer(cells, token_ids, training=False), still)
    dropouts = (layer.cell_dropout, layer.word_dropout, layer.output_dropout)
    assert [dropout.rate for dropout in dropouts] == [0.5, 0.5, 0.5]
    for active in dropouts:
        for dropout in dropouts:
            dropout.rate = 0.5 if dropout is active else 0.0
        assert not np.allclose(layer(cells, token_ids, training=True), still, atol=1e-3), active.name


def test_dropout_of_words():
    layer = SentenceEncoder(6, 4, 5, 3, name="rnn_encoder")
    token_ids = np.array([[3, 1, 5]])
    assert layer.dropout.rate == 0.5
    still, dropped = (layer(token_ids, training=training)["sentence"] for training in (False, True))
    assert not np.allclose(still, dropped)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"variant": "cycle"}, "variant: expected one of baseline, spatial, response; received 'cycle'"),
        ({"variant": "baseline"}, "captioner: expected none in the variant `baseline`"),
        ({"captioner": {"units": 0}}, r"captioner\.units: expected a whole number"),
        ({"captioner": {"heads": 1}}, r"captioner\.heads: unknown name"),
        ({"detector": {"classes": 0}}, r"detector\.classes: expected a whole number"),
        ({"lstm_units": 0.5}, "lstm_units: expected a whole number"),
    ],
)
def test_sizes_are_checked(changes, message):
    with pytest.raises(FieldError, match=message):
        CACConfig(**{**tiny_config("cycle_response").to_dict(), **changes})


@pytest.mark.parametrize("variant", ["baseline", "cycle_response"])
def test_sizes_as_data(variant):
    config = tiny_config(variant)
    assert CACConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_published_sizes():
    found = CACConfig(captioner=CaptionerConfig()).to_dict()
    assert found.pop("captioner") == {"units": 512, "word_dim": 512, "attention_dim": 512}
    found.pop("detector")  # `test_mask_rcnn.py`.
    assert found == {
        "image_size": 600, "variant": "response", "vocabulary_size": 1999, "max_words": 10, "embedding_dim": 512,
        "word_dim": 512, "lstm_units": 512,
    }  # fmt: skip
    assert CACConfig().captioner is None
