import argparse
import logging
import sys
from pathlib import Path

import pytest

from cmpc_tf2.cli import run_command
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.files import (
    making_folder,
    progress,
    read_json,
    read_text,
    replacing,
    require_folder,
    require_new_folder,
    require_writable,
    write_text,
)

LOUD = argparse.Namespace(quiet=False)


def test_replacing_is_atomic(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match=r"a\.txt"), replacing(path) as partial:
        partial.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    with replacing(path) as partial:
        assert partial.suffix == ".txt" and path.read_text() == "old"
        partial.write_text("new")
    assert path.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_outputs_are_checked_beforehand(tmp_path):
    with pytest.raises(InputError, match="does not exist; create it first"):
        require_writable(tmp_path / "no" / "a.txt")
    with pytest.raises(InputError, match="a folder or device"):
        require_writable(tmp_path)
    require_writable(tmp_path / "a.txt")
    with pytest.raises(InputError, match="a folder or device"):
        require_writable("/dev/null")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    with pytest.raises(InputError, match="stands for two files"):
        require_writable(tmp_path / "link.txt", others=[tmp_path / "a.txt"])


@pytest.mark.parametrize("name", ["a" * 251 + ".txt", "a." + "b" * 253, "\u4eba" * 85])
def test_names_may_be_as_long_as_the_system_allows(name, tmp_path):
    require_writable(tmp_path / name)
    write_text(tmp_path / name, "a\nb")
    assert (tmp_path / name).read_bytes() == b"a\nb"
    (tmp_path / name).unlink()
    require_new_folder(tmp_path / name)
    with making_folder(tmp_path / name) as partial:
        write_text(partial / "a.txt", "a")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_unwritable_outputs_are_reported_beforehand(tmp_path, monkeypatch):
    for require in (require_writable, require_new_folder, require_folder):
        with pytest.raises(InputError, match="a: cannot be written: File name too long; give another name"):
            require(tmp_path / ("b" * 300) / "a")
        with pytest.raises(InputError, match="b: cannot be written: File name too long; give another name"):
            require(tmp_path / ("b" * 256))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: already exists; give the name of a new folder"):
        require_new_folder(tmp_path / "file")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"expected a folder, found (a file|the file \S+ in its path); give"):
            require_folder(path)
    require_folder(tmp_path / "some" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def fail(path, **_):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", fail)
    for require in (require_writable, require_new_folder, require_folder):
        with pytest.raises(InputError, match="out: cannot be written: Read-only file system"):
            require(tmp_path / "out")


def test_making_a_folder_is_atomic(tmp_path):
    with pytest.raises(OSError, match="out") as caught, making_folder(tmp_path / "out") as partial:
        (partial / "masks").mkdir()
        raise OSError(28, "No space left on device", str(partial / "masks" / "1.png"))
    assert caught.value.filename == str(tmp_path / "out")
    with pytest.raises(OSError, match="input"), making_folder(tmp_path / "out"):
        raise FileNotFoundError(2, "No such file or directory", "input")
    assert not list(tmp_path.iterdir())


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    with replacing(tmp_path / "link.txt") as partial:
        partial.write_text("new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "a.txt").read_text() == "new"


def test_text_and_json_with_and_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.json"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + '["é"]'.encode())
        assert read_json(path) == ["é"] and read_text(path) == '["é"]'


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "no such file; make it"),
        (b"[1, 2", "not readable JSON, perhaps cut off"),
        (b"[" * 200_000, "not readable JSON: too deeply nested"),
        (b'{"a":' * 200_000, "not readable JSON: too deeply nested"),
        (b'"\xff"', "not readable JSON: not UTF-8"),
        (b"9" * 5000, "a number with thousands of digits"),
    ],
)
def test_json_that_cannot_be_read(content, words, tmp_path):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as failure:
        read_json(path, "make it")
    assert str(failure.value).startswith(f"{path}: ") and words in str(failure.value)
    assert "\n" not in str(failure.value)


def test_text_in_another_encoding(tmp_path):
    (tmp_path / "a.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.txt: expected UTF-8 text, found another encoding at byte 3"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_yields_every_item(is_terminal, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    assert list(progress(iter("abc"), 5, "letters", done=2)) == ["a", "b", "c"]
    assert list(progress([], 0, "nothing")) == []


def test_exit_status(capsys):
    def fail(error):
        def command(_):
            raise error

        return command

    assert run_command(lambda _: None, LOUD) == 0
    assert run_command(lambda _: 3, LOUD) == 3
    for error, status, words in (
        (InputError("x.npz: bad"), 1, "error: x.npz: bad"),
        (UsageError("-bs: bad"), 2, "error: -bs: bad"),
        (PermissionError(13, "Permission denied", "x.npz"), 1, "error: x.npz: Permission denied"),
        (MemoryError(), 1, "error: out of memory"),
        (MemoryError("Unable to allocate 9 GiB"), 1, "error: out of memory: Unable to allocate 9 GiB"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):
        assert run_command(fail(error), LOUD) == status
        assert capsys.readouterr().err == words + "\n"


def test_notes_of_libraries_are_not_shown(capsys):
    def command(_):
        for name in ("absl", "tensorflow", "cmpc_tf2.files"):
            logging.getLogger(name).warning("warning of %s", name)
        logging.getLogger("absl").error("error of absl")

    assert run_command(command, LOUD) == 0
    assert capsys.readouterr().err == "warning of cmpc_tf2.files\nerror of absl\n"
