import subprocess
import sys
import types

import pytest

from cmpc_tf2 import processes
from cmpc_tf2.errors import InputError
from cmpc_tf2.processes import locked


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path):
    path = tmp_path / ".lock"
    message = "it: another process is building it; wait until that has ended"
    with locked(path, "it"), pytest.raises(InputError, match=message), locked(path, "it"):
        pass
    assert not path.exists()
    with locked(path, "it"):
        pass


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / ".lock"
    program = "import os, pathlib, sys; from cmpc_tf2.processes import locked\n"
    program += "with locked(pathlib.Path(sys.argv[1]), 'it'): os._exit(7)"
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 7
    assert path.exists()
    with locked(path, "it"):
        pass
    assert not path.exists()


def test_a_lock_whose_file_is_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    path, lock = tmp_path / ".lock", processes._lock

    def lock_too_late(descriptor, what):
        monkeypatch.setattr(processes, "_lock", lock)
        path.unlink()
        lock(descriptor, what)

    monkeypatch.setattr(processes, "_lock", lock_too_late)
    with locked(path, "it"), pytest.raises(InputError), locked(path, "it"):
        pass


def test_locks_where_there_is_no_fcntl(tmp_path, monkeypatch):
    held = []

    def locking(descriptor, mode, size):
        if held:
            raise PermissionError(13, "Permission denied")
        held.append((mode, size))

    monkeypatch.setattr(processes, "fcntl", None)
    monkeypatch.setattr(processes, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)
    path = tmp_path / ".lock"
    with locked(path, "it"), pytest.raises(InputError, match="another process"), locked(path, "it"):
        pass
    assert held == [(2, 1)] and not path.exists()


@pytest.mark.parametrize("code, is_error", [(processes.errno.ENOLCK, False), (processes.errno.EIO, True)])
def test_file_systems_without_locks(code, is_error, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(code, "no")

    monkeypatch.setattr(processes.fcntl, "flock", flock)
    if is_error:
        with pytest.raises(OSError), locked(tmp_path / ".lock", "it"):
            pass
    else:
        with locked(tmp_path / ".lock", "it"):
            pass
