"""Kills at a chosen file operation: within one process, from then on nothing below a folder is touched any more; as a
script, `killing.py FOLDER NUMBER COMMAND...`, a real one of `COMMAND`, the arguments of Python."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Audit events that Python raises before it opens a file or changes a folder. For each path among their arguments: its
# index, and that of the descriptor of the folder that it is relative to (-1 for none).
_OPERATIONS = {
    "open": [(0, None)],
    "os.mkdir": [(0, 2)],
    "os.remove": [(0, 1)],
    "os.rename": [(0, 2), (1, 3)],
    "os.rmdir": [(0, 1)],
    "os.truncate": [(0, None)],
}


def exit_at(name: str, make_samples: Callable, described):
    """For the builder's workers: samples of what is described, but the process dies at the thing of that name."""
    if described.name == name:
        os._exit(1)
    return make_samples(described)


class Killed(BaseException):
    """The process would be dead. Unlike a real kill it unwinds; but what `finally` does to files is forbidden too."""


def _unwind():
    raise Killed


class _Switch:
    """Counts the file operations below a folder, and ends the process, or pretends to, from a chosen one on."""

    def __init__(self):
        self.root: str | None = None
        self.at: int | None = None
        self.count = 0
        self.kill = _unwind

    def audit(self, event: str, arguments: tuple):
        if self.root is None or event not in _OPERATIONS:
            return
        if event == "open" and not self._writes(arguments):
            return
        places = _OPERATIONS[event]
        if not any(self._is_below(arguments[path], -1 if at is None else arguments[at]) for path, at in places):
            return
        if self.at is not None and self.count >= self.at:
            self.kill()
        self.count += 1

    @staticmethod
    def _writes(arguments: tuple) -> bool:
        _, mode, flags = arguments
        if isinstance(mode, str):
            return bool(set(mode) & set("wax+"))
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    def _is_below(self, path, descriptor: int) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        folder = "" if descriptor == -1 else os.readlink(f"/proc/self/fd/{descriptor}")
        return os.path.realpath(os.path.join(folder, os.fsdecode(path))).startswith(self.root + os.sep)


_SWITCH = _Switch()
sys.addaudithook(_SWITCH.audit)  # For good: hooks cannot be taken away.


@contextlib.contextmanager
def killed_at(root: Path, at: int | None) -> Iterator[_Switch]:
    """Forbids the file operations below `root` from number `at` (from 0) on; None forbids none, and counts.

    The block ends as a killed process would: `Killed` is swallowed here. `count` tells how many operations there were.
    Operations on descriptors, and those of other processes, are not seen.
    """
    _SWITCH.root, _SWITCH.at, _SWITCH.count = os.path.realpath(root), at, 0
    try:
        yield _SWITCH
    except Killed:
        pass
    finally:
        _SWITCH.root = None


def run_killed(root: Path, at: int, command: list[str], **options):
    """Runs Python with the arguments `command`, killed by SIGKILL at its file operation number `at` below `root`.

    Args:
        root: A folder.
        at: From 0.
        command: A script, or `-m` and a module, and its arguments.
        options: As of `subprocess.run`.
    """
    killing = [sys.executable, __file__, str(root), str(at), *command]
    assert subprocess.run(killing, stdout=subprocess.DEVNULL, **options).returncode == -signal.SIGKILL


def _main(root: str, at: str, *command: str):
    _SWITCH.root, _SWITCH.at = os.path.realpath(root), int(at)
    _SWITCH.kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
    sys.path[0] = os.getcwd()  # As for the command itself.
    if command[0] == "-m":
        sys.argv = list(command[1:])
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    _main(*sys.argv[1:])
