"""Feeds damaged files to one reader: `python tests/fuzz TARGET [--count N] [--seed N]`, from the repository.

Prints how many files were read and how many were refused, as JSON. Memory is limited. The exit status is 1 if anything
but `InputError` came out; the file that did it is kept.
"""

import argparse
import collections
import json
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests")]

from cmpc_tf2.errors import InputError  # noqa: E402
from fuzz.mutate import mutations  # noqa: E402
from fuzz.targets import find_target  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--megabytes", type=int, default=1024, help="that the reader may allocate")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = find_target(arguments.target, Path(folder))
        for original in target.originals:
            target.read(original)  # Undamaged it is read; and whatever has to be imported is.
        _limit_memory(arguments.megabytes)
        outcomes, started = collections.Counter(read=0, refused=0), time.monotonic()
        for number, data in enumerate(mutations(target.originals, arguments.count, arguments.seed)):
            path = Path(folder) / "current"
            path.write_bytes(data)  # Found there if the process dies.
            try:
                target.read(data)
                outcomes["read"] += 1
            except InputError as error:
                outcomes["refused"] += 1
                if "\n" in str(error):
                    raise AssertionError(f"file {number}: a message of several lines: {error}") from error
            except BaseException:
                kept = Path(tempfile.gettempdir()) / f"fuzz-{arguments.target}-{arguments.seed}-{number}"
                kept.write_bytes(data)
                traceback.print_exc()
                print(f"file {number}, kept as {kept}", file=sys.stderr)
                return 1
    print(json.dumps({**outcomes, "seconds": round(time.monotonic() - started, 1)}))
    return 0


def _limit_memory(megabytes: int):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
