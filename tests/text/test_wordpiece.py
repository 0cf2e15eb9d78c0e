"""The tokenizer of MaskRIS against the original's, and by hand on an invented vocabulary."""

import hashlib
import json

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.tokenizers import TOKENIZERS
from cmpc_tf2.text.vocabulary import NoWordsError
from cmpc_tf2.text.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from original import GOLDEN

PIECES = [*SPECIAL_TOKENS, "man", "red", "re", "##d", "##der", "##s", "'", ",", "cafe", "i", "σας", "人", "é"]
SIZE = 30522


@pytest.fixture(scope="module")
def original(shared_data):
    """The tokenizer with BERT's vocabulary."""
    path = shared_data / "vocab" / "bert-base-uncased-vocab.txt"
    if not path.is_file():
        pytest.skip("BERT's vocabulary is not here")
    return WordPieceTokenizer(WordPieceTokenizer.read_words(path, SIZE), 20)


@pytest.fixture
def small():
    return WordPieceTokenizer(PIECES, 8)


def test_tricky_sentences(original, parity):
    cases = json.loads((GOLDEN / "maskris" / "bert_tokens_special.json").read_text())
    assert len(cases) == 35
    for case in cases:
        sentence = case["sentence"]
        if not case["tokens"]:  # The original marks whatever it likes for it.
            with pytest.raises(NoWordsError):
                original.encode(sentence)
            continue
        found = original.encode(sentence)
        assert found["token_ids"].tolist() == case["ids"], sentence
        assert found["token_mask"].tolist() == case["attention"], sentence
        assert original.split(sentence) == case["tokens"], sentence
        assert len(original.split(sentence)) + 2 == case["length_before_cutting"], sentence
    parity.counted("tricky sentences: WordPiece ids and masks *", "equal", len(cases))


def test_real_sentences(original, shared_data, parity):
    golden = np.load(GOLDEN / "maskris" / "bert_tokens.npz")
    texts = {
        split: [item["text"] for item in json.loads(path.read_text())["items"]]
        for split in np.unique(golden["split"])
        for path in [shared_data / "refcoco_unc" / "splits" / f"{split}.json"]
    }
    rows = zip(golden["split"], golden["index_in_split"], strict=True)
    sentences = [texts[split][index] for split, index in rows]
    assert len(sentences) == 1000
    found = [original.encode(sentence) for sentence in sentences]
    np.testing.assert_array_equal([row["token_ids"] for row in found], golden["ids"])
    np.testing.assert_array_equal([row["token_mask"] for row in found], golden["attention"])
    assert [len(original.split(sentence)) + 2 for sentence in sentences] == golden["length"].tolist()
    parity.counted("sentences of RefCOCO: WordPiece ids and masks *", "equal", len(sentences))


@pytest.mark.parametrize(
    "sentence, tokens",
    [
        ("Reds", ["red", "##s"]),  # The longest piece first.
        ("redder", ["red", "##der"]),
        ("man's,RED", ["man", "'", "[UNK]", ",", "red"]),
        ("Café", ["cafe"]),  # Accents go before pieces are looked for.
        ("\u0130", ["i"]),
        ("\u03a3\u0391\u03a3", ["[UNK]"]),  # Letters are lowered one by one: no final sigma.
        ("\u03a3\u0391\u03c2", ["σας"]),
        ("man人red", ["man", "人", "red"]),
        ("\uff4d\uff41\uff4e", ["[UNK]"]),  # Characters of compatibility, here of full width, stay.
        ("man$red~", ["man", "[UNK]", "red", "[UNK]"]),  # Symbols of ASCII are punctuation, others are not,
        ("man\u20ac", ["[UNK]"]),
        ("man\u2014red", ["man", "[UNK]", "red"]),  # but the punctuation of all scripts is.
        ("man\u200b", ["[UNK]"]),
        ("man\x00", ["[UNK]"]),
        ("man\u3000red\x1fman", ["man", "red", "man"]),
        ("a[MASK]man [mask]", ["[UNK]", "[MASK]", "man", "[UNK]", "[UNK]", "[UNK]"]),
        ("[CLS][SEP] [PAD]", ["[CLS]", "[SEP]", "[PAD]"]),
        ("re" + "d" * 98, ["red"] + ["##d"] * 97),
        ("re" + "d" * 99, ["[UNK]"]),
    ],
)
def test_pieces_by_hand(sentence, tokens, small):
    assert small.split(sentence) == tokens


IDEOGRAPHS = [
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F),
]  # fmt: skip


@pytest.mark.parametrize("first, last", IDEOGRAPHS)
def test_ideographs_end_where_those_of_bert_do(first, last, small):
    for code in (first - 1, first, last, last + 1):
        is_inside = any(start <= code <= end for start, end in IDEOGRAPHS)
        assert small.split(f"man{chr(code)}man") == (["man", "[UNK]", "man"] if is_inside else ["[UNK]"]), hex(code)


def test_a_short_sentence_is_padded_on_the_right(small):
    found = small.encode("red man")
    assert found["token_ids"].tolist() == [2, 6, 5, 3, 0, 0, 0, 0]
    assert found["token_mask"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert found["token_ids"].dtype == found["token_mask"].dtype == np.int32


def test_a_long_sentence_loses_its_end(small):
    assert small.encode("red " * 6)["token_ids"].tolist() == [2, 6, 6, 6, 6, 6, 6, 3]
    found = small.encode("red " * 7)
    assert found["token_ids"].tolist() == [2, 6, 6, 6, 6, 6, 6, 6] and found["token_mask"].all()
    assert small.tokens("red " * 9) == ["red"] * 7 and len(small.split("red " * 9)) == 9


def test_words_and_their_slots(small):
    """The pieces of a word belong together; an unknown word keeps its text; `[SEP]` is none of the words."""
    words = small.words("Redder dog's")
    assert [(word.text, word.is_known) for word in words] == [
        ("[CLS]", True), ("redder", True), ("dog", False), ("'", True), ("s", False)
    ]  # fmt: skip
    assert small.split("Redder dog's") == ["red", "##der", "[UNK]", "'", "[UNK]"]
    assert [(word.slots.start, word.slots.stop) for word in words] == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6)]


def test_words_of_a_long_sentence_are_cut_with_it(small):
    words = small.words("man " * 6 + "redder man")
    assert [word.text for word in words] == ["[CLS]", *["man"] * 6, "redder"]
    assert words[-1].slots == slice(7, 8)  # Only its first piece is read.
    with pytest.raises(NoWordsError, match="has no words"):
        small.words(" ")


def test_known_pieces(small):
    assert small.is_known("red") and small.is_known("##s")
    assert not small.is_known("[UNK]") and not small.is_known("dog")


@pytest.mark.parametrize("sentence", ["", "  ", "\n", "\u0301", "\u3000"])
def test_a_sentence_without_pieces_is_refused(sentence, small):
    with pytest.raises(NoWordsError, match="has no words"):
        small.encode(sentence)


def test_vocabularies_that_do_not_fit(tmp_path):
    assert TOKENIZERS["wordpiece"] is WordPieceTokenizer
    path = tmp_path / "words.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    assert WordPieceTokenizer.read_words(path) == PIECES
    with pytest.raises(InputError, match=f"words.txt: {len(PIECES)} words, but the model has 30522; give the file"):
        WordPieceTokenizer.read_words(path, SIZE)
    path.write_text("<pad>\n<unk>\nman\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"words.txt: vocabulary: expected \[PAD\].*; missing: \[PAD\], \[UNK\]"):
        WordPieceTokenizer.read_words(path)
    path.write_text("\n".join(["man", *SPECIAL_TOKENS]), encoding="utf-8")
    with pytest.raises(InputError, match=r"words.txt: vocabulary: .*; found 'man' there"):
        WordPieceTokenizer.read_words(path)
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"words.txt: vocabulary: expected '<pad>' on the first line"):
        TOKENIZERS["words"].read_words(path)


def test_another_vocabulary_of_the_size_of_bert_is_named(tmp_path, caplog):
    path = tmp_path / "words.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, *map(str, range(SIZE - 5))]) + "\n")
    assert len(WordPieceTokenizer.read_words(path, SIZE)) == SIZE
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"{path}: not the vocabulary of bert-base-uncased: its SHA-256 is {digest}, expected 07eced37" in caplog.text


def test_the_vocabulary_of_bert_is_recognized(original, shared_data, caplog):
    WordPieceTokenizer.read_words(shared_data / "vocab" / "bert-base-uncased-vocab.txt", SIZE)
    assert not caplog.records


def test_random_inputs():
    class Config:
        vocabulary_size, max_words = 50, 6

    found = WordPieceTokenizer.random_inputs(Config, [2, 6], np.random.default_rng(0))
    assert found["token_mask"].tolist() == [[1, 1, 0, 0, 0, 0], [1] * 6]
    assert (found["token_ids"] > 0).tolist() == found["token_mask"].astype(bool).tolist()
