import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from cmpc_tf2.fields import FieldError
from cmpc_tf2.text.bert import Bert, BertLayer
from cmpc_tf2.text.config import BertConfig

CONFIG = BertConfig(width=12, layers=2, heads=3, intermediate=20, vocabulary_size=30, positions=9)


@pytest.fixture(scope="module")
def bert():
    return Bert(CONFIG, name="lang_encoder")


@pytest.fixture
def inputs(rng):
    token_ids = np.array([[5, 9, 3, 0, 0], [5, 3, 0, 0, 0]], "int32")
    return token_ids, (token_ids > 0).astype("int32"), rng.normal(size=(1, 2, 12)).astype("float32")


def test_tokens_see_prompts_and_no_padding(bert, inputs, rng):
    token_ids, token_mask, prompts = inputs
    expected = np.asarray(bert(*inputs))
    assert expected.shape == (2, 5, 12)
    is_token = token_mask.astype(bool)
    other = np.where(is_token, token_ids, 17)
    np.testing.assert_allclose(np.asarray(bert(other, token_mask, prompts))[is_token], expected[is_token], atol=1e-6)
    changed = np.asarray(bert(token_ids, token_mask, prompts + rng.normal(size=prompts.shape)))
    assert np.abs(changed - expected)[is_token].max() > 1e-4


def test_prompts_are_a_set(bert, inputs):
    """They have no position."""
    token_ids, token_mask, prompts = inputs
    np.testing.assert_allclose(bert(token_ids, token_mask, prompts[:, ::-1]), bert(*inputs), atol=1e-6)


def test_prompts_of_one_picture_serve_many_sentences(bert, inputs):
    token_ids, token_mask, prompts = inputs
    repeated = np.repeat(prompts, 2, axis=0)
    np.testing.assert_array_equal(bert(token_ids, token_mask, repeated), bert(*inputs))


def test_the_vector_of_padding_is_not_trained(bert, inputs):
    token_ids, _, prompts = inputs
    table = bert.embeddings.word_embeddings.embeddings
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(bert(token_ids, np.ones_like(token_ids), prompts) ** 2 * np.arange(12.0, dtype="float32"))
    gradient = tf.convert_to_tensor(tape.gradient(loss, table.value)).numpy()
    assert set(np.flatnonzero(np.abs(gradient).max(axis=1))) == {3, 5, 9}


def test_norms_have_the_epsilon_of_bert(bert):
    """A smaller variance than that of any golden tells 1e-12 from the usual 1e-5."""
    norm = bert.encoder[0].output_norm
    x = np.array([[[1.0, -1.0] * 6]], "float32") * 1e-4
    np.testing.assert_allclose(norm(x), x * 1e4, rtol=1e-3)


def test_dropout_has_its_places(bert, inputs, monkeypatch):
    """On the embeddings of the words, not of the prompts, and in each layer on the probabilities and both outputs."""
    found = []
    monkeypatch.setattr(layers.Dropout, "call", lambda self, x, training=False: found.append((self.rate, x.shape)) or x)
    bert(*inputs, training=True)
    tokens = (0.1, (2, 7, 12))
    assert found == [(0.1, (2, 5, 12)), *([(0.1, (2, 3, 7, 7)), tokens, tokens] * 2)]


def test_padding_is_masked_by_minus_10000(bert, inputs, monkeypatch):
    """Larger scores can still win; prompts are never masked."""
    found = []
    monkeypatch.setattr(BertLayer, "call", lambda self, x, score_mask: found.append(np.asarray(score_mask)) or x)
    bert(*inputs)
    expected = np.pad(np.where(inputs[1], 0, np.float32(-10_000)), [[0, 0], [0, 2]])
    assert len(found) == 2
    for score_mask in found:
        np.testing.assert_array_equal(score_mask, expected[:, None, None])


def test_sizes_are_checked():
    with pytest.raises(FieldError, match="heads: expected a divisor of 12, the width; received 5"):
        BertConfig(width=12, heads=5)
