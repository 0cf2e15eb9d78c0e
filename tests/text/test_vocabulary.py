import csv
import json

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import save_model
from cmpc_tf2.text.vocabulary import Vocabulary, build_vocabulary, read_words, tokenize
from original import GOLDEN

VOCABULARY = Vocabulary(["<pad>", "<unk>", "man", ",", "left", "man"])


@pytest.fixture(scope="module")
def vocabularies(shared_data):
    return {
        "gref": Vocabulary.from_file(shared_data / "vocab" / "vocabulary_Gref.txt", size=12112),
        "referit": Vocabulary.from_file(shared_data / "vocab" / "vocabulary_referit.txt", size=8803),
    }


def test_tricky_sentences(vocabularies, parity):
    cases = json.loads((GOLDEN / "tokens_special.json").read_text())
    assert len(cases) == 38
    for case in cases:
        for name, vocabulary in vocabularies.items():
            if case["error"]:
                with pytest.raises(InputError, match="has no words"):
                    vocabulary.encode(case["sentence"])
            else:
                assert vocabulary.encode(case["sentence"]).tolist() == case[name], case["sentence"]
    parity.counted("tricky sentences: token ids by two vocabularies *", "equal", len(cases))


def test_tricky_sentences_split_as_in_the_original():
    """Without the vocabularies: as many tokens as ids, and the same id for the same token everywhere."""
    cases = json.loads((GOLDEN / "tokens_special.json").read_text())
    for name in ("gref", "referit"):
        ids: dict[str, int] = {}
        for case in cases:
            if case["error"]:
                with pytest.raises(InputError, match="has no words"):
                    tokenize(case["sentence"])
                continue
            tokens = tokenize(case["sentence"])[:20]
            found = case[name][20 - len(tokens) :]
            assert not any(case[name][: 20 - len(tokens)]) and all(found), case["sentence"]
            for token, token_id in zip(tokens, found, strict=True):
                assert ids.setdefault(token, token_id) == token_id, token
        assert len(ids) > 80 and len({i for i in ids.values() if i != 3}) > 50


def assert_equal_ids(sentences, vocabulary, expected, parity):
    assert len(sentences) == len(expected)
    np.testing.assert_array_equal([vocabulary.encode(s) for s in sentences], expected)
    parity.counted("sentences of RefCOCO, ReferIt and A2D: token ids *", "equal", len(sentences))


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_all_refcoco_sentences(split, vocabularies, shared_data, parity):
    items = json.loads((shared_data / "refcoco_unc" / "splits" / f"{split}.json").read_text())["items"]
    expected = np.load(GOLDEN / "tokens.npz")[f"refcoco_{split}"]
    assert_equal_ids([item["text"] for item in items], vocabularies["gref"], expected, parity)


def test_referit_sentences(vocabularies, shared_data, parity):
    queries = json.loads((shared_data / "referit" / "referit_query_test.json").read_text())
    sentences = [sentence for key in sorted(queries) for sentence in queries[key]][:10000]
    assert_equal_ids(sentences, vocabularies["referit"], np.load(GOLDEN / "tokens.npz")["referit_test"], parity)


def test_a2d_sentences(vocabularies, shared_data, parity):
    with (shared_data / "a2d_sentences" / "a2d_annotation.txt").open(newline="") as file:
        sentences = [row["query"] for row in csv.DictReader(file)]
    assert_equal_ids(sentences, vocabularies["gref"], np.load(GOLDEN / "tokens.npz")["a2d"], parity)


def test_separators_are_tokens():
    assert tokenize("man, left") == ["man", ", ", "left"]
    assert tokenize(" Man,left. ") == ["man", ",", "left"]
    assert tokenize("café") == ["caf", "é"]
    assert tokenize(".") == []


def test_encode_pads_left_truncates_and_takes_the_last_of_equal_words():
    assert VOCABULARY.encode("man,left", 5).tolist() == [0, 0, 5, 3, 4]
    assert VOCABULARY.encode("left man nobody", 2).tolist() == [4, 5]
    assert VOCABULARY.encode("nobody", 2).tolist() == [0, 1]
    assert VOCABULARY.encode("left").dtype == np.int64
    repeated = Vocabulary(["<pad>", "<unk>", "man", "<pad>"])
    assert repeated.encode("man", 3).tolist() == [0, 0, 2]


@pytest.mark.parametrize("expression", ["", "   ", "\n"])
def test_expression_without_tokens(expression):
    with pytest.raises(InputError, match="has no words"):
        VOCABULARY.encode(expression)


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "words.txt").write_text("<pad>\n<unk>\nman\n", encoding="utf-8-sig")
    assert Vocabulary.from_file(tmp_path / "words.txt").words == ["<pad>", "<unk>", "man"]


def test_vocabulary_file_errors(tmp_path):
    path = tmp_path / "words.txt"
    with pytest.raises(InputError, match=r"words.txt: no such vocabulary; data/README.md"):
        Vocabulary.from_file(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"words.txt: expected UTF-8"):
        Vocabulary.from_file(path)
    path.write_text("man\n<pad>\n")
    with pytest.raises(InputError, match=r"words\.txt: vocabulary: expected '<pad>' on the first line"):
        Vocabulary.from_file(path)
    path.write_text("<pad>\n<unk>\n\nman\n")
    assert Vocabulary.from_file(path, size=4).ids["man"] == 3
    with pytest.raises(InputError, match="4 words, but the model has 5"):
        Vocabulary.from_file(path, size=5)


def test_a_vocabulary_of_expressions_has_the_most_frequent_words_first(tmp_path):
    words = build_vocabulary(["red man, left", "the red cup,the", "", " . ", "Red a.", "the\n,\n<unk>", "pad"])
    assert words == ["<pad>", "<go>", "<eos>", "<unk>", "red", "the", ",", ">", "a", "cup", "left", "man", "pad", "unk"]
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    assert Vocabulary.from_file(tmp_path / "words.txt").words == words


def test_the_vocabulary_of_a_model_file(small_model, small_model_file, tmp_path):
    assert read_words(small_model_file) == small_model.vocabulary
    with pytest.raises(InputError, match=r"small.keras: 12 words, but the model has 5"):
        read_words(small_model_file, size=5)
    save_model(type(small_model)(small_model.config), tmp_path / "mute.keras")
    with pytest.raises(InputError, match=r"mute.keras: holds no vocabulary; give the vocabulary file that"):
        read_words(tmp_path / "mute.keras")
    (tmp_path / "bad.keras").write_bytes(b"x")
    with pytest.raises(InputError, match=r"bad.keras: not a .keras file, or cut off"):
        read_words(tmp_path / "bad.keras")
