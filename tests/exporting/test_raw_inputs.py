"""Preprocessing in the graph of an exported model, compared with that in NumPy."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.exporting.graph_tokenizers import (
    GRAPH_TOKENIZERS,
    GraphGroundingTokenizer,
    GraphWordPieceTokenizer,
    GraphWordTokenizer,
)
from cmpc_tf2.exporting.raw_inputs import GRAPH_RESIZINGS, decode_picture
from cmpc_tf2.preprocessing.resizing import RESIZINGS
from cmpc_tf2.text.grounding import GroundingTokenizer
from cmpc_tf2.text.tokenizers import TOKENIZERS
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_tf2.text.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from original import GOLDEN
from small import WORDS

SENTENCES = [
    "man, left", "man,left", "Man in RED.", "the man. ", "  the  man  ", "man -- red!", "man's", "a_b red", "\tman\n",
    "le café", "ÉCOLE man", "\u3000man\u3000", "man\u00a0red", "红色 man", "man 😀 red", "a\x00b", ". .", "man..",
    "x" * 500,    " ".join(["man"] * 30), "-", "...", "man.red.",
]  # fmt: skip


def compiled(tokenizer):
    """A tokenizer as a function of the graph."""
    return tf.function(tokenizer, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.fixture(scope="module")
def tokenizer():
    words = [*WORDS, "the", "cafe"]  # One of them twice: the last id counts.
    return Vocabulary(words), compiled(GraphWordTokenizer(words, 20))


@pytest.fixture(scope="module")
def pieces():
    words = [*SPECIAL_TOKENS, "man", "left", "red", "re", "##d", "##s", "'", ",", ".", "cafe", "i", "σας", "人", "##人"]
    return WordPieceTokenizer(words, 8), compiled(GraphWordPieceTokenizer(words, 8))


@pytest.fixture(scope="module")
def box_words():
    words = ["<pad>", "<eos>", "<unk>", "man", ", ", ",", "red", ".", "...", "-", "²½", "a", "école"]
    return GroundingTokenizer(words, 8), compiled(GraphGroundingTokenizer(words, 8))


def assert_equal_inputs(found, expected, sentence):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=repr(sentence))


def test_every_tokenizer_and_resizing_has_a_form_in_the_graph():
    """Of the models that can be exported: `whitespace` and `none` are those of two-stage models."""
    assert GRAPH_TOKENIZERS.keys() == TOKENIZERS.keys() - {"whitespace"}
    assert GRAPH_RESIZINGS.keys() == RESIZINGS.keys() - {"none"}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_become_the_same_ids(sentence, tokenizer):
    words, in_graph = tokenizer
    np.testing.assert_array_equal(in_graph(tf.constant(sentence))["token_ids"], words.encode(sentence))


@pytest.mark.parametrize("sentence", [*SENTENCES, "RE\u0301Ds İ ΣΑς", "人red人", "a[MASK]man [mask]", "re" + "d" * 99])
def test_sentences_become_the_same_pieces(sentence, pieces):
    assert_equal_inputs(pieces[1](tf.constant(sentence)), pieces[0].encode(sentence), sentence)


@pytest.mark.parametrize("sentence", [*SENTENCES, "RE\u0301Ds İ", "left, ²½ _a", "man, .", "a  b. "])
def test_sentences_become_the_same_words_of_boxes(sentence, box_words):
    try:
        expected = box_words[0].encode(sentence)
    except InputError:
        with pytest.raises(tf.errors.InvalidArgumentError, match="the expression has no words"):
            box_words[1](tf.constant(sentence))
    else:
        assert_equal_inputs(box_words[1](tf.constant(sentence)), expected, sentence)


def test_random_characters_become_the_same_words_of_boxes(box_words):
    rng = np.random.default_rng(0)
    special = [*"manred,. _\u0301\u200b\u2028\u00a0\x1f\x85²½", "man", " "]
    for _ in range(300):
        random = [chr(code) for code in rng.integers(1, 0x2FFF, 5)]
        sentence = "man " + "".join(rng.choice([*special, *random], size=12))
        assert_equal_inputs(box_words[1](tf.constant(sentence)), box_words[0].encode(sentence), sentence)


def test_random_characters_become_the_same_pieces(pieces):
    """Of all planes, next to characters that matter."""
    rng = np.random.default_rng(0)
    special = [*"manred[]#.,'İΣé\u0301\u0344\u200b\u2028\ufb01\u1e9e\uf900\x00\x1f\x85", *SPECIAL_TOKENS, "##", " "]
    for _ in range(300):
        random = [chr(code) for code in rng.integers(1, 0x30000, 5) if not 0xD800 <= code < 0xE000]
        sentence = "".join(rng.choice([*special, *random], size=30))
        assert_equal_inputs(pieces[1](tf.constant(sentence)), pieces[0].encode(sentence), sentence)


@pytest.mark.parametrize("sentence", ["", "   ", "\u3000", "\u0301"])
def test_sentences_without_pieces_are_refused(sentence, pieces):
    with pytest.raises(tf.errors.InvalidArgumentError, match="the expression has no words"):
        pieces[1](tf.constant(sentence))


def test_the_tricky_sentences_of_maskris(shared_data):
    """And its thousand real ones, by their ids."""
    path = shared_data / "vocab" / "bert-base-uncased-vocab.txt"
    if not path.is_file():
        pytest.skip("BERT's vocabulary is not here")
    in_graph = compiled(GraphWordPieceTokenizer(WordPieceTokenizer.read_words(path), 20))
    for case in json.loads((GOLDEN / "maskris" / "bert_tokens_special.json").read_text()):
        if case["tokens"]:
            expected = {"token_ids": case["ids"], "token_mask": case["attention"]}
            assert_equal_inputs(in_graph(tf.constant(case["sentence"])), expected, case["sentence"])
    golden = np.load(GOLDEN / "maskris" / "bert_tokens.npz")
    for split in np.unique(golden["split"]):
        items = json.loads((shared_data / "refcoco_unc" / "splits" / f"{split}.json").read_text())["items"]
        for row in np.flatnonzero(golden["split"] == split):
            sentence = items[golden["index_in_split"][row]]["text"]
            expected = {"token_ids": golden["ids"][row], "token_mask": golden["attention"][row]}
            assert_equal_inputs(in_graph(tf.constant(sentence)), expected, sentence)


@pytest.mark.parametrize("sentence", ["", "   ", "\u3000", "."])
def test_sentences_without_words_are_refused(sentence, tokenizer):
    with pytest.raises(tf.errors.InvalidArgumentError, match="the expression has no words"):
        tokenizer[1](tf.constant(sentence))


def test_words_of_any_characters():
    """Separators are words, including their white space."""
    words = Vocabulary([*WORDS, ",\t", ",\n", "-\r\n", "two\twords", "last"])
    sentence = "the,\tred,\nblue-\r\nlast"
    found = GraphWordTokenizer(words.words, 20)(tf.constant(sentence))["token_ids"]
    np.testing.assert_array_equal(found, words.encode(sentence))
    assert found[-1] == 16 and np.count_nonzero(found == 3) == 0


def test_the_originals_tricky_sentences(shared_data):
    """And every fifth of 38,000 real ones."""
    words = Vocabulary.from_file(shared_data / "vocab" / "vocabulary_Gref.txt")
    in_graph = compiled(GraphWordTokenizer(words.words, 20))
    tricky = json.loads((GOLDEN / "tokens_special.json").read_text())
    sentences = [entry["sentence"] for entry in tricky]
    for sentence in sentences:
        try:
            expected = words.encode(sentence)
        except InputError:
            expected = np.zeros(20)
        if expected.any():
            assert_equal_inputs(in_graph(tf.constant(sentence)), {"token_ids": expected}, sentence)


# Share of values that may differ, by a level. OpenCV's letterbox rounds its weights where it enlarges.
@pytest.mark.parametrize("name, share", [("fit", 0.01), ("stretch", 0), ("letterbox", 0.1)])
@pytest.mark.parametrize("height, width", [(40, 60), (320, 320), (500, 333), (7, 200), (1, 1), (33, 64), (64, 64)])
def test_pictures_are_resized_and_restored_alike(height, width, name, share, rng):
    resizing, in_graph = RESIZINGS[name], GRAPH_RESIZINGS[name]
    image = rng.integers(20, 256, (height, width, 3), dtype=np.uint8)
    found = np.asarray(tf.function(in_graph.resize)(tf.constant(image), 64))
    difference = np.abs(found - resizing.resize_image(image, 64))
    assert difference.max() <= 1 and (difference > 0).mean() <= share
    values = rng.random((2, 64, 64)).astype(np.float32)
    restored = in_graph.restore(tf.constant(values), tf.constant(height), tf.constant(width))
    expected = [resizing.restore(value, height, width) for value in values]
    np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-5)


def test_models_that_scale_pictures_themselves_get_them_as_they_are(rng):
    resizing = RESIZINGS["none"]
    image, values = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8), rng.random((7, 9))
    np.testing.assert_array_equal(resizing.resize_image(image, 64), image)
    np.testing.assert_array_equal(resizing.restore(values, 7, 9), values)
    np.testing.assert_array_equal(resizing.restore_mask(values > 0.5, 7, 9), values > 0.5)


@pytest.mark.parametrize("mode, kind", [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG")])
def test_pictures_are_decoded_alike(mode, kind, rng, tmp_path):
    shape = (30, 44, len(mode)) if len(mode) > 1 else (30, 44)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(buffer, kind)
    (tmp_path / "picture").write_bytes(buffer.getvalue())
    found = np.asarray(decode_picture(tf.constant(buffer.getvalue()))).astype(int)
    assert np.abs(found - read_image(tmp_path / "picture")).max() <= 1
