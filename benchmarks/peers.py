"""Every system against its original at full size, in turns: inference, a training step, memory and start.

The original of CMPC is its graph on this TensorFlow (`naive_graph.py`). Those of the others are the authors' code under
PyTorch, which needs clones of their repositories in one folder, and another Python:

    git clone https://github.com/naver-ai/maskris
    git clone https://github.com/SijieSong/CVPR21-Cogrounding_semantic_attention
    git clone https://github.com/lichengunc/MAttNet
    git clone https://github.com/lichengunc/mask-faster-rcnn
    pip install torch numpy filelock opencv-python-headless pillow

Both sides of a row read the same random weights from files. They are processes of their own, which take turns, so that
other load meets both. Each has one thread, unless OMP_NUM_THREADS and the variables of TensorFlow say otherwise. With
one thread, seconds of the processor hardly depend on other load, and these are printed.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import add_json_option, write_json

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
ENVIRONMENT = {**ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
ONE, SEVEN = "1 sentence", "7 sentences of 1 picture"
# The sides of a row.
ORIGINAL, OURS = "original", "ours"


@dataclasses.dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        pictures: Pictures of a call.
        sentences: Sentences about them.
        training: Whether it is a training step.
        apart: The sides run one after the other, because both do not fit into the memory of usual machines.
    """

    pictures: int
    sentences: int
    training: bool = False
    apart: bool = False


@dataclasses.dataclass(frozen=True)
class Peer:
    """A system and its original: the repositories of the original, its side, and rows besides those of one picture."""

    title: str
    repositories: tuple[str, ...]
    script: str
    rows: dict[str, Row]

    def all_rows(self) -> dict[str, Row]:
        return {ONE: Row(1, 1), SEVEN: Row(1, 7), **self.rows}


PEERS = {
    "cmpc": Peer(
        "CMPC",
        (),
        "naive_graph.py",
        {"4 pictures, 1 sentence each": Row(4, 4), "training step, batch of 1": Row(1, 1, training=True)},
    ),
    "maskris": Peer(
        "MaskRIS",
        ("naver-ai/maskris",),
        "maskris_pytorch.py",
        {"4 pictures, 1 sentence each": Row(4, 4), "training step, batch of 2": Row(2, 2, training=True, apart=True)},
    ),
    "sl_att": Peer(
        "SL-Att.",
        ("SijieSong/CVPR21-Cogrounding_semantic_attention",),
        "sl_att_pytorch.py",
        {"8 pictures, 1 sentence each": Row(8, 8), "training step, batch of 4": Row(4, 4, training=True)},
    ),
    "mattnet": Peer(
        "MAttNet",
        ("lichengunc/MAttNet", "lichengunc/mask-faster-rcnn"),
        "mattnet_pytorch.py",
        {"training step, 15 pictures, 135 pairs": Row(15, 135, training=True)},
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--clones", type=Path, metavar="DIR", help="folder with clones of the originals")
    parser.add_argument("--torch-python", metavar="PYTHON", help="a Python with torch")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="rows to measure, by the beginning of their name")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="that of our side")
    parser.add_argument("--repeats", type=int, default=5)
    add_json_option(parser)
    arguments = parser.parse_args()
    figures = {}
    for name in arguments.systems:
        peer = PEERS[name]
        if lacking := find_lacking(peer, arguments):
            print(f"{peer.title}: skipped; {lacking}", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = measure_peer(name, Path(folder), arguments)
        write_json(arguments, figures)


def find_lacking(peer: Peer, arguments: argparse.Namespace) -> str:
    """What has to be given to measure a system; empty if nothing."""
    if not peer.repositories:
        return ""
    for repository in peer.repositories:
        if not arguments.clones or not (arguments.clones / repository.partition("/")[2]).is_dir():
            folder = arguments.clones or "a folder given with --clones"
            return f"it needs a clone of https://github.com/{repository} in {folder}"
    return "" if arguments.torch_python else "it needs --torch-python, a Python with torch"


def measure_peer(name: str, folder: Path, arguments: argparse.Namespace) -> dict:
    """Measures the rows of a system and prints them.

    Returns:
        For each row what `measure_row` returns.
    """
    peer = PEERS[name]
    python = arguments.torch_python if peer.repositories else sys.executable
    precision = ["--precision", arguments.precision]
    clones = ["--clones", arguments.clones.resolve()] if arguments.clones else []
    original = [python, HERE / peer.script, name]
    weights = prepare(name, original, clones, folder)
    print(f"\n{peer.title:38}{'original':>24}{'':16}{'ours':>8}\n{'':38}", end="")
    print(f"{'s':>8}{'GFLOP':>8}{'MB':>8}{'start s':>9}" * 2 + f"{'times':>8}{'limit s':>9}{'difference':>12}")
    results = {}
    for title, row in peer.all_rows().items():
        if arguments.rows and not title.startswith(tuple(arguments.rows)):
            continue
        sizes = [str(row.pictures), str(row.sentences), *["--training"] * row.training]
        commands = {
            ORIGINAL: [*original, weights[ORIGINAL], *sizes, *clones],
            OURS: [sys.executable, HERE / "our_side.py", name, weights[OURS], *sizes, *precision],
        }
        answers = None if row.training else folder / "answers.npy"
        if row.apart:
            sides = [measure_row({side: commands[side]}, arguments.repeats, None) for side in commands]
            measured = sides[0] | sides[1]
        else:
            measured = measure_row(commands, arguments.repeats, answers)
        results[title] = measured
        print(_line(title, measured), flush=True)
    if results.keys() >= {ONE, SEVEN}:
        one, seven = (results[title][OURS]["cpu_seconds"] for title in (ONE, SEVEN))
        print(f"7 calls of one sentence take {7 * one / seven:.2f} times as long as one call of seven")
    return results


def prepare(name: str, original: list, clones: list, folder: Path) -> dict[str, Path]:
    """Writes random weights, the same for both sides.

    Returns:
        The file of each side.
    """
    ours, theirs = folder / "ours.keras", folder / "original.pth"
    if not PEERS[name].repositories:
        _run([sys.executable, HERE / "our_side.py", name, ours, "1", "1", "--save"])
        return {ORIGINAL: ours, OURS: ours}
    _run([*original, theirs, "8", "8", "--save", *clones])
    convert, backbone = [sys.executable, "-m", "cmpc_tf2", "convert", "--checkpoint"], []
    if name == "mattnet":
        detector = folder / "detector.keras"
        _run([*convert, f"{theirs}.detector", "--output", detector])
        backbone = ["--backbone", detector]
    _run([*convert, theirs, "--output", ours, *backbone])
    return {ORIGINAL: theirs, OURS: ours}


def _run(command: list):
    subprocess.run(command, cwd=HERE.parent, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)


def measure_row(commands: dict[str, list], repeats: int, answers: Path | None) -> dict:
    """Measures a row.

    Args:
        commands: The commands of the sides.
        repeats: Calls that count, after the first one.
        answers: A file through which the numbers of both sides are compared; None if they cannot be.

    Returns:
        For each side `seconds` and `cpu_seconds`, medians; `start_seconds` and `start_cpu_seconds`, from the start of
        the process to the end of the first call; `peak_mb`; and `gflop`, the arithmetic of a call. Also `gflops`, the
        rate of a matrix product, and `difference`, the largest one of the numbers that are compared.
    """
    sides, row, found = {}, {}, {name: [] for name in commands}
    for name, command in commands.items():
        start = time.perf_counter()
        sides[name] = Side(command)
        first = sides[name].ask()
        row[name] = {
            "start_seconds": time.perf_counter() - start,
            "start_cpu_seconds": first["process_cpu_seconds"],
        }
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(side.ask())
    for name, calls in found.items():
        for figure in ("seconds", "cpu_seconds"):
            row[name][figure] = statistics.median(call[figure] for call in calls)
        row[name]["peak_mb"] = calls[-1]["peak_mb"]
    row["difference"] = None
    if answers:
        sides[ORIGINAL].ask(f"save {answers}")
        row["difference"] = sides[OURS].ask(f"compare {answers}")
    for name, side in sides.items():
        counted = side.ask("count")
        row[name]["gflop"] = counted.pop("gflop")
        row |= counted
        side.close()
    return row


class Side:
    """The process of a side. What it prints besides its answers is shown if it fails.

    Args:
        command: Its command.
    """

    def __init__(self, command: list):
        self._name = Path(command[1]).name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log, "text": True}
        self._process = subprocess.Popen(command, env=ENVIRONMENT, **pipes)

    def ask(self, request: str = ""):
        """The answer to a request, as `peer_process.answer` describes them."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            sys.exit(f"{self._log.read()}{self._name} failed")
        return json.loads(line)

    def close(self):
        self._process.communicate()
        self._log.close()


def _line(title: str, row: dict) -> str:
    cells = "".join(
        f"{side['cpu_seconds']:8.2f}{side['gflop']:8.0f}{side['peak_mb']:8.0f}{side['start_cpu_seconds']:9.1f}"
        for side in (row[ORIGINAL], row[OURS])
    )
    times = row[ORIGINAL]["cpu_seconds"] / row[OURS]["cpu_seconds"]
    limit = row[OURS]["gflop"] / row["gflops"]
    difference = "-" if row["difference"] is None else f"{row['difference']:.1e}"
    return f"{title:38}{cells}{times:8.2f}{limit:9.2f}{difference:>12}"


if __name__ == "__main__":
    main()
