"""What the benchmarks against an original under PyTorch share.

Each row runs both sides in processes of their own, which take turns, so that other load meets both. A process reads one
line for each call and answers with JSON: the seconds, those of the processor, and the peak memory. The process under
PyTorch imports this module too, so it needs no more than numpy.

With one thread a side (OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1), seconds of the processor
hardly depend on other load; with more, PyTorch's threads also count those in which they wait for each other.
"""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
from measuring import add_json_option, peak_megabytes

# The name of the side that is this project.
OURS = "ours"
WARM_UP = 2
# Side of the pictures, lowest token id, and number of token ids.
SIZES = {"maskris": (448, 1000, 30522), "sl_att": (256, 1, 12099)}
# The box of every sentence of a training step that needs boxes: x1, y1, x2, y2 in pixels.
BOX = (40.0, 60.0, 180.0, 200.0)


def make_inputs(model_name: str, pictures: int, sentences: int):
    """Random inputs, always the same.

    Args:
        model_name: A key of `SIZES`.
        pictures: B.
        sentences: N.

    Returns:
        Normalised pictures `(B, S, S, 3)` float32 and token ids `(N, 20)` int32.
    """
    rng = np.random.default_rng(0)
    size, first, end = SIZES[model_name]
    images = rng.normal(size=(pictures, size, size, 3)).astype(np.float32)
    return images, rng.integers(first, end, size=(sentences, 20)).astype(np.int32)


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Normalised pictures as uint8 ones."""
    return np.clip(images * 57 + 115, 0, 255).astype(np.uint8)


def provide(module: str, **names):
    """Makes `import module` and `from module import name` work, for requirements that are not installed."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        spec = importlib.machinery.ModuleSpec(".".join(parts[:count]), None)
        sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    vars(sys.modules[module]).update(names)


def answer(step: Callable[[], object]):
    """Calls `step` for each line of the standard input."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        start, cpu_start = time.perf_counter(), time.process_time()
        step()
        found = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
        print(json.dumps({**found, "peak_mb": peak_megabytes()}), flush=True)


def parse_arguments(description: str, original: str, rows: dict) -> argparse.Namespace:
    """The options of such a benchmark. Without an original, it says so and exits.

    Args:
        description: What it measures.
        original: Owner and name of the original's repository.
        rows: Its rows by name.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--clone", help=f"clone of {original}")
    parser.add_argument("--torch-python", help="a Python with torch, numpy and filelock")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", nargs="+", choices=rows, default=list(rows))
    add_json_option(parser)
    parser.add_argument("--alone", choices=rows, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.alone and not (arguments.clone and arguments.torch_python):
        print(f"skipped: give --clone, a clone of {original}, and --torch-python, a Python with torch")
        sys.exit()
    return arguments


def run_rows(names: list[str], make_commands: Callable[[str], dict[str, list]], repeats: int) -> dict:
    """Measures rows and prints them.

    Args:
        names: Names of the rows.
        make_commands: The commands of a row's processes by side. One side is `OURS`; of the others, the fastest is
            printed.
        repeats: Calls that count.

    Returns:
        For each row and side `seconds` and `cpu_seconds`, medians, and `peak_mb`.
    """
    print(f"{'':30}{'PyTorch s':>10}{'ours s':>8}{'times':>7}{'PyTorch MB':>12}{'ours MB':>9}")
    results = {}
    for name in names:
        results[name] = row = _measure(name, make_commands(name), repeats)
        ours = row[OURS]
        theirs = min((found for side, found in row.items() if side != OURS), key=lambda found: found["seconds"])
        print(
            f"{name:30}{theirs['seconds']:10.2f}{ours['seconds']:8.2f}{theirs['seconds'] / ours['seconds']:7.2f}"
            f"{theirs['peak_mb']:12.0f}{ours['peak_mb']:9.0f}",
            flush=True,
        )
    return results


def _measure(name: str, commands: dict[str, list], repeats: int) -> dict:
    """The row of these commands."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    workers = {side: subprocess.Popen(command, **pipes) for side, command in commands.items()}
    for worker in workers.values():
        if not worker.stdout.readline():
            sys.exit(f"{name}: {worker.args[0]} failed")
    answers = {side: [] for side in workers}
    for _ in range(WARM_UP + repeats):
        for side, worker in workers.items():
            worker.stdin.write("\n")
            worker.stdin.flush()
            answers[side].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    return {side: _summary(found[WARM_UP:]) for side, found in answers.items()}


def _summary(answers: list[dict]) -> dict:
    medians = {name: statistics.median(one[name] for one in answers) for name in ("seconds", "cpu_seconds")}
    return {**medians, "peak_mb": answers[-1]["peak_mb"]}


def convert_original(command: list) -> tuple:
    """Converts the random weights of an original.

    Call it after `run_rows`: a process starts with the peak memory of the one that started it.

    Args:
        command: The command that writes them, without `--save FILE`.

    Returns:
        Our model with these weights, and the logits that the original computed with them.
    """
    from cmpc_tf2 import load_model
    from cmpc_tf2.conversion import pytorch
    from cmpc_tf2.conversion.torch_reader import read_torch_file

    with tempfile.TemporaryDirectory() as folder:
        checkpoint, converted = f"{folder}/original.pth", f"{folder}/converted.keras"
        subprocess.run([*command, "--save", checkpoint], check=True, stdout=sys.stderr)
        pytorch.convert(checkpoint, converted)
        return load_model(converted), read_torch_file(checkpoint)["logits"]
