import os
import subprocess
import sys

import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.processes import locked, map_in_order


def test_a_lock_is_held_once(tmp_path):
    path = tmp_path / "folder" / ".lock"
    with locked(path, "first"), pytest.raises(InputError, match="second"), locked(path, "second"):
        pass
    with locked(path, "it"):
        pass


def test_a_lock_is_released_when_its_process_ends(tmp_path):
    path = tmp_path / ".lock"
    program = "import os, pathlib, sys; from cmpc_tf2.processes import locked\n"
    program += "with locked(pathlib.Path(sys.argv[1]), 'it'): os._exit(7)"
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 7
    with locked(path, "it"):
        pass


def test_a_killed_worker_is_reported():
    message = "a worker process was killed, probably because memory ran out; run the same command with fewer --workers"
    with pytest.raises(InputError, match=f"^{message}$"):
        list(map_in_order(os._exit, [1, 2], 1))
