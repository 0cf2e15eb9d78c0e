"""What an exported model does with raw pictures and sentences, against what `data/` does."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.exporting.raw_inputs import decode_picture, fit_picture, restore_values, tokenize, word_table
from cmpc_tf2.text.vocabulary import Vocabulary
from original import GOLDEN
from small import WORDS

SENTENCES = [
    "man, left", "man,left", "Man in RED.", "the man. ", "  the  man  ", "man -- red!", "man's", "a_b red", "\tman\n",
    "le café", "ÉCOLE man", "\u3000man\u3000", "man\u00a0red", "红色 man", "man 😀 red", "a\x00b", ". .", "man..",
    "x" * 500,    " ".join(["man"] * 30), "-", "...", "man.red.",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    words = Vocabulary([*WORDS, "the", "cafe"])  # One of them twice: the last id counts.
    table = word_table(words)
    return words, tf.function(lambda text: tokenize(text, table, 20), input_signature=[tf.TensorSpec((), tf.string)])


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_become_the_same_ids(sentence, tokenizer):
    words, in_graph = tokenizer
    np.testing.assert_array_equal(in_graph(tf.constant(sentence)), words.encode(sentence))


@pytest.mark.parametrize("sentence", ["", "   ", "\u3000", "."])
def test_sentences_without_words_are_refused(sentence, tokenizer):
    with pytest.raises(tf.errors.InvalidArgumentError, match="the expression has no words"):
        tokenizer[1](tf.constant(sentence))


def test_words_of_any_characters():
    """Separators are words too, with the white space in them."""
    words = Vocabulary([*WORDS, ",\t", ",\n", "-\r\n", "two\twords", "last"])
    sentence = "the,\tred,\nblue-\r\nlast"
    found = tokenize(tf.constant(sentence), word_table(words), 20)
    np.testing.assert_array_equal(found, words.encode(sentence))
    assert found[-1] == 16 and np.count_nonzero(found == 3) == 0


def test_the_originals_tricky_sentences(shared_data):
    """And every fifth of 38,000 real ones."""
    words = Vocabulary.from_file(shared_data / "vocab" / "vocabulary_Gref.txt")
    table = word_table(words)
    in_graph = tf.function(lambda text: tokenize(text, table, 20), input_signature=[tf.TensorSpec((), tf.string)])
    tricky = json.loads((GOLDEN / "tokens_special.json").read_text())
    sentences = [entry["sentence"] for entry in tricky]
    for sentence in sentences:
        try:
            expected = words.encode(sentence)
        except InputError:
            expected = np.zeros(20)
        if expected.any():
            np.testing.assert_array_equal(in_graph(tf.constant(sentence)), expected, err_msg=repr(sentence))


@pytest.mark.parametrize("height, width", [(40, 60), (320, 320), (500, 333), (7, 200), (1, 1), (33, 64)])
def test_pictures_are_fitted_and_restored_alike(height, width, rng):
    image = rng.integers(20, 256, (height, width, 3), dtype=np.uint8)
    found = np.asarray(fit_picture(tf.constant(image), 64))
    difference = np.abs(found - FIT.resize_image(image, 64))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01
    values = rng.random((2, 64, 64)).astype(np.float32)
    restored = restore_values(tf.constant(values), tf.constant(height), tf.constant(width))
    expected = [FIT.restore(value, height, width) for value in values]
    np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode, kind", [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG")])
def test_pictures_are_decoded_alike(mode, kind, rng, tmp_path):
    shape = (30, 44, len(mode)) if len(mode) > 1 else (30, 44)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(buffer, kind)
    (tmp_path / "picture").write_bytes(buffer.getvalue())
    found = np.asarray(decode_picture(tf.constant(buffer.getvalue()))).astype(int)
    assert np.abs(found - read_image(tmp_path / "picture")).max() <= 1
