"""The words of the models of boxes, against the original."""

import json

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.grounding import GroundingTokenizer, corpus_words, split_words
from cmpc_tf2.text.tokenizers import TOKENIZERS
from cmpc_tf2.text.vocabulary import NoWordsError
from original import GOLDEN

FOLDER = GOLDEN / "cogrounding"
WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "man", "left", ",", "red"]
TOKENIZER = GroundingTokenizer(WORDS, 6)


@pytest.fixture(scope="module")
def real(shared_data):
    words = GroundingTokenizer.read_words(shared_data / "vocab" / "vocabulary_Gref.txt")
    return GroundingTokenizer(words, 20)


def test_the_words_of_the_corpus(real):
    golden = np.load(FOLDER / "cogrounding_tokens.npz")
    assert len(real.vocabulary) == golden["vocabulary_size"]
    assert real.vocabulary.words[:8] == golden["first_words"].tolist()
    assert real.vocabulary.words[-8:] == golden["last_words"].tolist()


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_all_refcoco_sentences(split, real, shared_data, parity):
    items = json.loads((shared_data / "refcoco_unc" / "splits" / f"{split}.json").read_text())["items"]
    expected = np.load(FOLDER / "cogrounding_tokens.npz")[split]
    assert len(items) == len(expected)
    np.testing.assert_array_equal([real.encode(item["text"])["token_ids"] for item in items], expected)
    parity.counted("sentences of RefCOCO: token ids of SL-Att. *", "equal", len(items))


def test_tricky_sentences(real, parity):
    cases = json.loads((FOLDER / "cogrounding_tokens_special.json").read_text())
    assert len(cases) == 30
    for case in cases:
        sentence = case["sentence"]
        if sentence in ("", ".", "..."):  # The original reads the last two.
            with pytest.raises(NoWordsError, match="has no words"):
                real.encode(sentence)
        else:
            token_ids = real.encode(sentence)["token_ids"]
            assert token_ids.dtype == np.int32 and token_ids.tolist() == case["ids"], sentence
    parity.counted("tricky sentences: token ids of SL-Att. *", "equal", len(cases))


@pytest.mark.parametrize("name", ["augmented", "letterbox"])
def test_sentences_of_the_original(name):
    golden = np.load(FOLDER / "cogrounding_data.npz")
    tokenizer = GroundingTokenizer(golden["words"].tolist(), 12)
    for number, phrase in enumerate(golden["phrases"]):
        if name == "letterbox":
            expected = golden[f"letterbox/64/{number}/words"]
            assert tokenizer.encode(str(phrase))["token_ids"].tolist() == expected.tolist()
        else:  # Two passes over the pictures, some of them flipped.
            expected = [golden[f"augmented/{seed}/words"].tolist() for seed in (number, number + 5)]
            flipped = str(phrase).lower().replace("left", "*").replace("right", "left").replace("*", "right")
            options = [tokenizer.encode(text)["token_ids"].tolist() for text in (str(phrase), flipped)]
            assert all(found in options for found in expected)


def test_words_are_split():
    assert split_words(" Man, left. ") == ["man", ", ", "left"]
    assert split_words("man,left two  blanks") == ["man", ",", "left", "two", "  ", "blanks"]
    assert split_words("café .") == ["café", " ."] and split_words("man..") == ["man", ".."]
    assert split_words("") == split_words(" ") == split_words(".") == []


def test_ids_end_with_eos_and_padding():
    assert TOKENIZER.encode("Red man, left")["token_ids"].tolist() == [7, 4, 3, 5, 2, 0]
    assert TOKENIZER.encode("man,red left left")["token_ids"].tolist() == [4, 6, 7, 5, 5, 2]
    assert TOKENIZER.encode("man,red left left man")["token_ids"].tolist() == [4, 6, 7, 5, 5, 4]
    assert TOKENIZER.encode("man,red left left man red")["token_ids"].tolist() == [4, 6, 7, 5, 5, 4]
    assert TOKENIZER.describe_truncation("man,red left left man red") == "only the first 6 of its 7 words count"


def test_words_have_their_slots():
    words = TOKENIZER.words("red dog")
    assert [(word.text, word.is_known, word.slots) for word in words] == [
        ("red", True, slice(0, 1)),
        ("dog", False, slice(1, 2)),
    ]


@pytest.mark.parametrize("sentence", ["", "  ", ".", "?!", ", ,"])
def test_sentences_of_separators_are_refused(sentence):
    for method in (TOKENIZER.encode, TOKENIZER.split, TOKENIZER.words):
        with pytest.raises(NoWordsError, match="has no words"):
            method(sentence)


def test_unknown_words_are_read():
    assert TOKENIZER.encode("zzz _")["token_ids"].tolist() == [3, 3, 2, 0, 0, 0]


def test_random_inputs():
    class Config:
        vocabulary_size, max_words = 9, 5

    inputs = TOKENIZER.random_inputs(Config, [2, 5], np.random.default_rng(0))
    assert inputs["token_ids"].dtype == np.int32
    assert ((inputs["token_ids"] > 0) == [[True] * 2 + [False] * 3, [True] * 5]).all()


def test_corpus_words():
    lines = ["<pad>", "<unk>", "Man", "", "man red", ", red", "left"]
    assert corpus_words(lines) == ["<pad>", "<unk>", "man", "red", ",", "left"]
    assert corpus_words(["a"]) == ["a", "<unk>", "<pad>"]
    assert corpus_words(WORDS) == WORDS


def test_vocabulary_files(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("<pad>\n<eos>\n<unk>\nman\nman red\n", encoding="utf-8")
    assert GroundingTokenizer.read_words(path, 5) == ["<pad>", "<eos>", "<unk>", "man", "red"]
    with pytest.raises(InputError, match=r"words\.txt: 5 words, but the model has 7; give the file"):
        GroundingTokenizer.read_words(path, 7)
    path.write_text("<pad>\n<unk>\nman\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"words\.txt: vocabulary: expected a line '<eos>'"):
        GroundingTokenizer.read_words(path)


def test_model_files_name_the_tokenizer():
    assert TOKENIZERS["grounding"] is GroundingTokenizer
