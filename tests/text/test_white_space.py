"""Words as MAttNet reads them."""

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.text.vocabulary import NoWordsError
from cmpc_tf2.text.white_space import WhiteSpaceTokenizer

WORDS = ["<PAD>", "man", "<UNK>", "left", "man,"]


@pytest.fixture
def tokenizer():
    return WhiteSpaceTokenizer(WORDS, max_words=4)


def test_words_are_what_is_between_white_space(tokenizer):
    assert tokenizer.split("  Man,\tLEFT \n man ") == ["man,", "left", "man"]
    found = tokenizer.encode(" Man, LEFT")["token_ids"]
    assert found.dtype == np.int32 and found.tolist() == [4, 3, 0, 0]


def test_unknown_words(tokenizer):
    assert tokenizer.encode("left. zebra man")["token_ids"].tolist() == [2, 2, 1, 0]
    assert not tokenizer.is_known("zebra") and tokenizer.is_known("man,")
    assert [word.is_known for word in tokenizer.words("man zebra")] == [True, False]


def test_long_sentences_are_cut(tokenizer):
    assert tokenizer.encode("man left man left zebra")["token_ids"].tolist() == [1, 3, 1, 3]
    assert tokenizer.describe_truncation("man left man left zebra") == "only the first 4 of its 5 words count"
    assert tokenizer.words("left man man")[2].slots == slice(2, 3)


@pytest.mark.parametrize("expression", ["", " \t\n"])
def test_sentences_without_words(tokenizer, expression):
    with pytest.raises(NoWordsError):
        tokenizer.encode(expression)


@pytest.mark.parametrize("words", [[], ["man", "<PAD>", "<UNK>"], ["<PAD>", "man"], ["<pad>", "<unk>"]])
def test_vocabularies_without_special_tokens(words):
    with pytest.raises(InputError, match="expected '<PAD>' as the first word and '<UNK>' as another"):
        WhiteSpaceTokenizer(words, 4)


def test_random_inputs():
    config = MAttNetConfig(vocabulary_size=5, max_words=4)
    found = WhiteSpaceTokenizer.random_inputs(config, [1, 4], np.random.default_rng(0))["token_ids"]
    assert (found != 0).tolist() == [[True, False, False, False], [True] * 4] and found.max() < 5
