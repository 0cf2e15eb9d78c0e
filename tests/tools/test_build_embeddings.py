import gzip

import numpy as np
import pytest

import build_embeddings
from cmpc_tf2.text.embeddings import load_embeddings
from cmpc_tf2.text.vocabulary import Vocabulary
from own_data import row, write_rows

GLOVE = "the 1 2 3\nred 0.5 -1 2e-1\nat name@domain.com 7 7 7\nman -1 -2 -3\nnever 9 9 9\n"
WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "the", "red", "zebra", "", "man", "red"]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "glove.txt").write_text(GLOVE)
    return tmp_path


def run(folder, glove="glove.txt", output="emb.npy", status=0):
    arguments = ["--glove", str(folder / glove), "--vocabulary", str(folder / "words.txt")]
    assert build_embeddings.main([*arguments, "--output", str(folder / output)]) == status


def test_a_small_table_by_hand(files, capsys):
    run(files)
    table = load_embeddings(files / "emb.npy", (10, 3))
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table[0], [0, 0, 0])
    np.testing.assert_allclose(table[[4, 5, 8, 9]], [[1, 2, 3], [0.5, -1, 0.2], [-1, -2, -3], [0.5, -1, 0.2]])
    unknown = table[[1, 2, 3, 6, 7]]
    assert (np.abs(unknown) < 0.6).all() and len(np.unique(unknown)) == unknown.size
    assert capsys.readouterr().out.endswith("emb.npy: 10 words, 3 numbers each; 4 (40.0%) have a GloVe vector\n")


def test_gzip_gives_the_same_and_so_does_a_second_run(files):
    run(files)
    with gzip.open(files / "glove.txt.gz", "wt") as file:
        file.write(GLOVE)
    run(files, "glove.txt.gz", "again.npy")
    assert (files / "emb.npy").read_bytes() == (files / "again.npy").read_bytes()


@pytest.mark.parametrize("head", ["5 3\n", "\ufeff", "\ufeff5 3\r\n"])
def test_head_line_and_byte_order_mark_are_skipped(head, files):
    run(files)
    (files / "glove.txt").write_text(head + GLOVE, encoding="utf-8", newline="")
    run(files, output="again.npy")
    assert (files / "emb.npy").read_bytes() == (files / "again.npy").read_bytes()


@pytest.mark.parametrize("name, width", [("glove.6B.300d.sample.txt.gz", 300), ("gensim_test_glove_50d.txt", 50)])
def test_real_glove(name, width, shared_data, tmp_path):
    vocabulary = Vocabulary.from_file(shared_data / "vocab" / "vocabulary_Gref.txt")
    arguments = ["--glove", str(shared_data / "glove" / name), "--output", str(tmp_path / "emb.npy")]
    arguments += ["--vocabulary", str(shared_data / "vocab" / "vocabulary_Gref.txt")]
    assert build_embeddings.main(arguments) == 0
    table = load_embeddings(tmp_path / "emb.npy", (12112, width))
    opener = gzip.open if name.endswith("gz") else open
    with opener(shared_data / "glove" / name, "rt", encoding="utf-8") as lines:
        known = 0
        for line in lines:
            word, *numbers = line.rstrip().split(" ")
            if word in vocabulary.ids and len(numbers) == width:
                np.testing.assert_allclose(table[vocabulary.ids[word]], np.array(numbers, float), rtol=1e-6)
                known += 1
    assert known > 20


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "no such file; GloVe vectors are at"),
        (b"", "has no vector for any of the 8 words"),
        (b"nothing 1 2 3\n", "has no vector for any of the 8 words"),
        (b"the one two three\n", "not GloVe text"),
        (b"the\nred\n", "not GloVe text: line 1: expected a word and its numbers, found 0 numbers"),
        ("\n".join(WORDS).encode(), "not GloVe text: line 1: expected a word and its numbers, found 0 numbers"),
        (b"2 3\nthe\nred\n", "not GloVe text: line 2: expected a word and its numbers, found 0 numbers"),
        (b"2 3\n", "has no vector for any of the 8 words"),
        (b"the" + b" 1" * 5000, "not GloVe text: line 1: expected a word and its numbers, found 5000 numbers"),
        (b"a 1 2\nthe nan 1\n", "not GloVe text: line 2: expected finite numbers"),
        (b"a 1 2\nthe 1 inf\n", "not GloVe text: line 2: expected finite numbers"),
        (b"a 1 2\nthe 1 1e39\n", "not GloVe text: line 2: expected finite numbers"),
        (b"a 1 2\nthe  1\n", "not GloVe text: line 2: expected a word and its numbers"),
        (b"a 1 2\n" + b"x" * 200_000, "not GloVe text: line 2 has more than 131072 bytes"),
        (gzip.compress(GLOVE.encode(), mtime=0)[:-12], "not GloVe text: its compression is damaged"),
        (gzip.compress(GLOVE.encode(), mtime=0)[:12] + b"\xff" * 30, "not GloVe text: its compression is damaged"),
        (b"\x1f\x8bnot gzip", "not GloVe text"),
    ],
)
def test_bad_glove_files(content, words, files, capsys):
    (files / "glove.txt").unlink()
    if content is not None:
        (files / "glove.txt").write_bytes(content)
    run(files, status=1)
    error = capsys.readouterr().err
    assert str(files / "glove.txt") in error and words in error
    assert not (files / "emb.npy").exists()


def test_output_must_be_npy(files, capsys):
    run(files, output="emb.txt", status=2)
    assert "expected a name that ends in .npy" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_the_vocabulary_of_annotations_and_its_vectors(suffix, files, capsys):
    path = write_rows(files / f"my{suffix}", [row("the red zebra"), row("never", image="/a.png"), row("red man")])
    options = ["--annotations", str(path), "--vocabulary", str(files / "own.txt")]
    assert build_embeddings.main(options) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{files / 'own.txt'}: 8 words\n"
    assert f"skipped: {path}, row {2 + (suffix == '.csv')}: expected a path below the image root" in printed.err
    assert (files / "own.txt").read_text().split() == ["<pad>", "<go>", "<eos>", "<unk>", "red", "man", "the", "zebra"]
    assert build_embeddings.main(options) == 1
    assert "own.txt: already exists; models depend on it: give a new name" in capsys.readouterr().err
    options[-1] = str(files / "new.txt")
    vectors = ["--glove", str(files / "glove.txt"), "--output", str(files / "own.npy")]
    assert build_embeddings.main([*options, *vectors]) == 0
    assert "own.npy: 8 words, 3 numbers each; 3 (37.5%) have a GloVe vector" in capsys.readouterr().out
    np.testing.assert_allclose(load_embeddings(files / "own.npy", (8, 3))[[4, 6]], [[0.5, -1, 0.2], [1, 2, 3]])


@pytest.mark.parametrize("options", [[], ["--glove", "g.txt"], ["--output", "o.npy", "--annotations", "a.csv"]])
def test_missing_options(options, files, capsys):
    assert build_embeddings.main(["--vocabulary", str(files / "own.txt"), *options]) == 2
    assert "expected --glove and --output for word vectors; without them, --annotations" in capsys.readouterr().err


def test_unusable_annotations_leave_no_vocabulary(files, capsys):
    (files / "my.csv").write_text("image,sentence\n")
    assert build_embeddings.main(["--annotations", str(files / "my.csv"), "--vocabulary", str(files / "own.txt")]) == 1
    assert "my.csv: expected a header with the columns image, expression" in capsys.readouterr().err
    assert not (files / "own.txt").exists()


def test_unusable_vectors_leave_no_vocabulary(files, capsys):
    options = [
        "--annotations",
        str(write_rows(files / "my.csv", [row("zebra")])),
        "--vocabulary",
        str(files / "own.txt"),
    ]
    assert build_embeddings.main([*options, "--glove", "none.txt", "--output", str(files / "own.npy")]) == 1
    assert "none.txt: no such file; GloVe vectors are at" in capsys.readouterr().err
    assert not (files / "own.txt").exists() and not (files / "own.npy").exists()
