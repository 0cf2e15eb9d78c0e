"""The attention of words to places in the decoder of MaskRIS."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import softmax

from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.precision import computing_in
from small import SMALL_MASKRIS

SENTENCES = 3


@pytest.fixture(scope="module")
def inputs(small_maskris):
    """The decoder's inputs for one picture and sentences of different lengths."""
    rng = np.random.default_rng(2)
    image = rng.normal(size=(1, 64, 64, 3)).astype("float32")
    text = small_maskris.tokenizer_type.random_inputs(SMALL_MASKRIS, [3, 20, 7], rng)
    text = {name: ops.convert_to_tensor(value) for name, value in text.items()}
    return {**small_maskris.image_encoder(image), **text}


@pytest.fixture(scope="module")
def explained(small_maskris, inputs):
    return {name: np.asarray(value) for name, value in small_maskris.explaining_decoder()(inputs).items()}


def naive_attention(layer, visual, language, positions) -> np.ndarray:
    """Projects all cells, computes the softmax of each head, and spreads coarse cells with loops."""
    config, projections = SMALL_MASKRIS, layer.v2l_cross_attn
    split = (-1, config.decoder_heads, config.head_dim)
    queries, keys = (
        (np.asarray(values) @ np.asarray(projection.kernel) + np.asarray(projection.bias)).reshape(len(values), *split)
        for values, projection in ((language, projections.q_proj), (visual + positions, projections.k_proj))
    )
    keys = np.broadcast_to(keys, (len(queries), *keys.shape[1:]))
    weights = softmax(np.einsum("bthd,bnhd->bhtn", queries, keys) / np.sqrt(config.head_dim), axis=-1).mean(axis=1)
    maps = np.zeros((*weights.shape[:2], 8, 8))
    start = 0
    for side in (2, 4, 8):
        for row in range(side):
            for column in range(side):
                cell, covered = weights[:, :, start + row * side + column], 8 // side
                rows, columns = (slice(index * covered, (index + 1) * covered) for index in (row, column))
                maps[:, :, rows, columns] += cell[..., None, None] / covered**2
        start += side * side
    assert start == weights.shape[-1]
    return maps


def test_attention_equals_the_plain_formula(small_maskris, inputs, explained):
    decoder = small_maskris.expression_decoder
    last = decoder.get_layer(f"encoder.{SMALL_MASKRIS.decoder_layers - 1}")
    visual, language, positions, _ = keras.Model(decoder.input, last.input)(inputs)
    expected = naive_attention(last, visual, language, positions)[:, : SMALL_MASKRIS.max_words]
    assert explained["attention"].shape == (SENTENCES, SMALL_MASKRIS.max_words, 8, 8)
    np.testing.assert_allclose(explained["attention"], expected, rtol=1e-4, atol=1e-6)
    assert expected.min() < 0.5 / 64 and expected.max() > 1.5 / 64  # Far from uniform.


def test_every_map_sums_to_one(explained):
    np.testing.assert_allclose(explained["attention"].sum(axis=(2, 3)), 1, atol=1e-5)


def test_the_mask_is_that_of_the_decoder(small_maskris, inputs, explained):
    np.testing.assert_array_equal(explained["mask_logits"], small_maskris.expression_decoder(inputs)["mask_logits"])


def test_one_picture_serves_many_sentences(small_maskris, inputs, explained):
    decoder = small_maskris.explaining_decoder()
    for sentence in range(SENTENCES):
        alone = {name: inputs[name][sentence : sentence + 1] for name in ("token_ids", "token_mask")}
        found = decoder({**inputs, **alone})["attention"][0]
        np.testing.assert_allclose(found, explained["attention"][sentence], atol=1e-6)


def test_later_weights_are_used(inputs):
    """The explaining decoder shares its weights with the model, which may be trained after it was made."""
    model = MaskRIS(SMALL_MASKRIS)
    decoder = model.explaining_decoder()
    assert {id(variable) for variable in decoder.variables} <= {id(variable) for variable in model.variables}
    before = np.asarray(decoder(inputs)["attention"])
    bias = model.expression_decoder.get_layer("encoder.1").v2l_cross_attn.q_proj.bias
    bias.assign(np.full(bias.shape, 100, "float32"))
    assert np.abs(decoder(inputs)["attention"] - before).max() > 1e-3


def test_a_grid_that_does_not_divide(small_maskris, inputs):
    """At 40 pixels the levels have 2, 3 and 5 cells a side."""
    text = {name: inputs[name] for name in ("token_ids", "token_mask")}
    model = small_maskris.at_size(40)
    features = model.image_encoder(np.zeros((1, 40, 40, 3), "float32"))
    attention = model.explaining_decoder()({**features, **text})["attention"]
    assert attention.shape == (SENTENCES, SMALL_MASKRIS.max_words, 5, 5)
    np.testing.assert_allclose(ops.sum(attention, axis=(2, 3)), 1, atol=1e-5)


def test_bfloat16_is_close_to_float32(small_maskris, inputs, explained):
    with computing_in("bfloat16", weights="bfloat16"):
        model = MaskRIS(SMALL_MASKRIS)
    for target, source in zip(model.weights, small_maskris.weights, strict=True):
        target.assign(ops.convert_to_tensor(source))
    found = model.explaining_decoder()(inputs)["attention"]
    assert ops.dtype(found) == "float32"
    np.testing.assert_allclose(ops.sum(found, axis=(2, 3)), 1, atol=1e-5)
    assert 0 < np.abs(found - explained["attention"]).max() < 0.05
