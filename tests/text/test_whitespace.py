"""The words of the two-stage models."""

import json

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.tokenizers import TOKENIZERS
from cmpc_tf2.text.vocabulary import NoWordsError
from cmpc_tf2.text.whitespace import WhitespaceTokenizer

WORDS = ["<pad>", "man", "left", "<unk>", "man,"]


def test_sentences_are_split_at_white_space_alone():
    tokenizer = WhitespaceTokenizer(WORDS, 5)
    assert tokenizer.encode("  Man,\tman  LEFT. ")["token_ids"].tolist() == [4, 1, 3, 0, 0]
    assert [word.is_known for word in tokenizer.words("man, left.")] == [True, False]
    assert tokenizer.encode("man left man left man left")["token_ids"].tolist() == [1, 2, 1, 2, 1]
    assert tokenizer.describe_truncation("man left man left man left") == "only the first 5 of its 6 words count"
    assert TOKENIZERS["whitespace"] is WhitespaceTokenizer


@pytest.mark.parametrize("sentence", ["", " \n"])
def test_a_sentence_needs_a_word(sentence):
    with pytest.raises(NoWordsError, match="has no words"):
        WhitespaceTokenizer(WORDS, 5).encode(sentence)


def test_the_originals_vocabulary(tmp_path):
    path = tmp_path / "mattnet.json"
    path.write_text(json.dumps({"word_to_ix": {"left": 2, "<UNK>": 3, "man": 1}}))
    assert WhitespaceTokenizer.read_words(path) == ["<pad>", "man", "left", "<unk>"]
    assert WhitespaceTokenizer.read_words(path, 4)
    with pytest.raises(InputError, match=r"mattnet.json: 4 words, but the model has 5"):
        WhitespaceTokenizer.read_words(path, 5)


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "expected an object with word_to_ix"),
        ({"word_to_ix": {"a": "1"}}, "expected an object with word_to_ix"),
        ({"word_to_ix": {}}, "expected an object with word_to_ix"),
        ({"word_to_ix": {"<UNK>": 1, "a": 3}}, "word_to_ix: expected the numbers 1 to 2, each once"),
        ({"word_to_ix": {"a": 1}}, "vocabulary: expected '<pad>' on the first line and '<unk>' on another"),
    ],
)
def test_files_that_are_no_vocabulary(content, message, tmp_path):
    path = tmp_path / "mattnet.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"mattnet.json: {message}"):
        WhitespaceTokenizer.read_words(path)


def test_random_inputs():
    config = type("Config", (), {"vocabulary_size": 9, "max_words": 4})
    ids = WhitespaceTokenizer.random_inputs(config, [1, 4], np.random.default_rng(0))["token_ids"]
    assert ((ids > 0) == [[1, 0, 0, 0], [1, 1, 1, 1]]).all() and ids.max() < 9
