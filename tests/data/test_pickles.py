"""Pickles of plain data, and those that ask for more than that."""

import pickle
import struct
import zipfile

import pytest

from cmpc_tf2.data.pickles import read_plain_pickle
from cmpc_tf2.errors import InputError

PLAIN = [{"ref_id": 7, "sent": "café" * 100, "tokens": ["a", "b"], "x": [1.5, None, True, -(2**70)], "same": []}] * 300


@pytest.fixture
def read(tmp_path):
    def read(content: bytes):
        (tmp_path / "refs(unc).p").write_bytes(content)
        return read_plain_pickle(tmp_path / "refs(unc).p")

    return read


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_in_every_protocol(protocol, read):
    plain = [{**entry, "number": number, "text": str(number)} for number, entry in enumerate(PLAIN)]
    assert read(pickle.dumps(plain, protocol=protocol)) == plain


MEMO = [b"]r" + struct.pack("<I", 200_000_000) + b".", b"]r\xff\xff\xff\xff.", b"]p200000000\n."]


@pytest.mark.parametrize("content", MEMO)
def test_a_memo_larger_than_the_file(content, read):
    with pytest.raises(InputError, match=r"refs\(unc\).p: not a readable pickle: byte 1 asks for more memory"):
        read(content)


LENGTHS = [
    *(code + struct.pack("<Q", 2**40) for code in (b"\x8e", b"\x8d")),
    *(code + struct.pack("<I", 2**31 - 1) for code in (b"T", b"X", b"B", b"\x8b")),
    b"U\xff", b"\x8a\xff", b"\x8c\xff", b"C\xff", b"I7", b"S'a'", b"", b"]", b"q",
]  # fmt: skip


@pytest.mark.parametrize("content", LENGTHS)
def test_more_content_than_the_file_has(content, read):
    with pytest.raises(InputError, match="not a readable pickle: it is cut off"):
        read(content)


def test_tuples_within_tuples(read):
    """Hashing such a tuple as a key takes exponential time."""
    bomb = b"}(" + b")" + b"".join(b"q%c0h%ch%c\x86" % (n, n, n) for n in range(60)) + b"Nu."
    with pytest.raises(InputError, match="not a readable pickle of plain data, at byte 2; only plain lists"):
        read(bomb)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"N2.", "only plain lists"),
        (b"\x8f.", "only plain lists"),
        (b"\x82\x01.", "only plain lists"),
        (b"Nfoo", "only plain lists"),
        (b"P7\n.", "refers to outside objects; only plain lists"),
        (b"(ios\nsystem\n.", "names os.system; only plain lists"),
        (b"\x8c\x02os\x8c\x06system\x93.", "names os.system; only plain lists"),
        (b"I9x\n.", "it is damaged"),
        (b"(" * 9 + b".", "it is damaged"),
        (b"h\x05.", "it is damaged"),
        (b"]p-5\n.", "it is damaged"),
        (b"X\x01\x00\x00\x00\xff.", "it is damaged"),
        (b"}(]Nu.", "it is damaged"),
    ],
)
def test_damaged_pickles_and_other_objects(content, words, read):
    with pytest.raises(InputError) as failure:
        read(content)
    assert words in str(failure.value) and "\n" not in str(failure.value)


def test_lists_within_many_lists_are_read_or_refused(read):
    assert len(read(b"]" * 200_000 + b"a" * 199_999 + b".")) == 1


class Evil:
    def __reduce__(self):
        return (zipfile.ZipFile, ("x",))


def test_pickles_with_code_are_refused_by_name(tmp_path):
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps([{"ref_id": Evil()}], protocol=2))
    with pytest.raises(InputError, match=r"refs\(unc\).p: names zipfile.ZipFile; only plain"):
        read_plain_pickle(path)
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match=r"names os\.system"):
        read_plain_pickle(path)
    path.write_bytes(pickle.dumps([1, 2, 3])[:-3])
    with pytest.raises(InputError, match="not a readable pickle"):
        read_plain_pickle(path)


def test_python_2_strings(tmp_path):
    path = tmp_path / "refs.p"
    for stored, text in ((b"caf\xc3\xa9", "café"), (b"caf\xe9", "café")):
        path.write_bytes(b"(S'" + b"".join(b"\\x%02x" % byte for byte in stored) + b"'\nl.")
        assert read_plain_pickle(path) == [text]
