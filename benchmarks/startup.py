"""How long a user waits before anything happens: `--help`, a mask from `predict`, an answer from `serve`, an export.

Models have full size and random weights. `predict` and `serve` are compared with what they cannot do without: importing
TensorFlow, reading the bytes of the model file, and encoding a picture and decoding an expression when all is warm.
`--before CHECKOUT` measures another checkout in turns with this one. CPU seconds are of all threads; where others use
the machine too, they mean more than those of the clock.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import add_json_option, run_alone, write_json

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

COMMANDS = (
    "build_batches.py",
    "tools/convert_tf1_ckpt.py",
    *(f"-m cmpc_tf2 {name}" for name in ("train", "evaluate", "predict", "export", "convert", "demo")),
)
EXPRESSION = "the man on the left"
LOAD_MODEL = "import sys, cmpc_tf2; cmpc_tf2.load_model(sys.argv[1])"
# A checkout takes these seconds; the others are of this one.
COMPARED = ("load_model", "predict, 1 expression", "serve, first answer")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout, to be measured in turns")
    parser.add_argument("--port", type=int, default=7868)
    add_json_option(parser)
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure_needs(arguments.alone)))
        return
    from serving import make_model, picture  # It imports TensorFlow, which `--alone` times.

    figures = {}
    for command in COMMANDS:
        runs = [run(ROOT, *command.split(), "--help") for _ in range(arguments.repeats)]
        tell(figures, f"{command} --help", runs)
    with tempfile.TemporaryDirectory() as folder:
        model, photograph = make_model(Path(folder) / "full.keras", {}), Path(folder) / "photograph.jpg"
        photograph.write_bytes(picture(0, 640, 480))
        measure_startup(arguments, figures, model, photograph)
        exported = Path(folder) / "exported"
        seconds = run(ROOT, "-m", "cmpc_tf2", "export", "--model", model, "--output", exported)
        size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
        tell(figures, f"export at full size, checked ({size / 1e6:.0f} MB)", [seconds])
    write_json(arguments, figures)


def measure_startup(arguments: argparse.Namespace, figures: dict, model: Path, photograph: Path):
    """Measures what is needed, and what this checkout and the other take, in turns."""
    checkouts = {"": ROOT} | ({", before": arguments.before.resolve()} if arguments.before else {})
    output = photograph.with_name("overlay.png")
    predict = ["-m", "cmpc_tf2", "predict", "--model", model, "--image", photograph, "--output", output]
    needs, runs = [], {name + suffix: [] for name in COMPARED for suffix in checkouts}
    for _ in range(arguments.repeats):
        needs.append(run_alone(__file__, model))
        for suffix, root in checkouts.items():
            runs["load_model" + suffix].append(run(root, "-c", LOAD_MODEL, model))
            runs["predict, 1 expression" + suffix].append(run(root, *predict, "--expression", EXPRESSION))
            runs["serve, first answer" + suffix].append(run_server(root, model, photograph, arguments.port))
    for name in needs[0]:
        tell(figures, name, [need[name] for need in needs])
    total = {unit: sum(figures[name][unit] for name in needs[0]) for unit in ("seconds", "cpu_seconds")}
    tell(figures, "sum of these", [tuple(total.values())])
    for name, values in runs.items():
        tell(figures, name, values, total)


def tell(figures: dict, what: str, runs: list[tuple[float, float]], total: dict[str, float] | None = None):
    """Keeps and prints the medians of seconds, by the clock and of the CPU, and how many times a total they are."""
    medians = [statistics.median(values) for values in zip(*runs, strict=True)]
    figures[what] = dict(zip(("seconds", "cpu_seconds"), medians, strict=True)) | {"runs": runs}
    times = "".join(f"{found / needed:7.2f} x" for found, needed in zip(medians, (total or {}).values(), strict=False))
    print(f"{what:44}{medians[0]:8.2f} s{medians[1]:8.2f} s CPU{times}", flush=True)


def run(root: Path, *words) -> tuple[float, float]:
    """Seconds that a Python command in a checkout takes, by the clock and of the CPU."""
    start, process = time.perf_counter(), start_python(root, *words)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{root}: failed: {' '.join(map(str, words))}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def run_server(root: Path, model: Path, photograph: Path, port: int) -> tuple[float, float]:
    """As `run`, of a server until it has answered its first request."""
    import httpx

    from serving import wait_for

    address = f"http://127.0.0.1:{port}"
    start = time.perf_counter()
    process = start_python(root, "-m", "cmpc_tf2", "serve", "--api", "--model", model, "--port", port)
    try:
        wait_for(address)
        content = {"files": {"image": photograph.read_bytes()}, "data": {"expressions": [EXPRESSION]}}
        httpx.post(f"{address}/v1/segment", timeout=600, **content).raise_for_status()
        seconds = time.perf_counter() - start
    finally:
        process.terminate()
        _, _, usage = os.wait4(process.pid, 0)
    return seconds, usage.ru_utime + usage.ru_stime


def start_python(root: Path, *words) -> subprocess.Popen:
    """Starts a Python command in a checkout."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, *map(str, words)]
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure_needs(model_file: Path) -> dict[str, tuple[float, float]]:
    """Seconds of what no command can do without, by the clock and of the CPU."""
    figures, times = {}, [now()]

    def take(what: str):
        figures[what] = tuple(end - start for start, end in zip(times[-1], now(), strict=True))
        times.append(now())

    import tensorflow as tf  # noqa: F401

    take("import tensorflow")
    model_file.read_bytes()
    take("reading the bytes of the model file")

    import numpy as np

    from cmpc_tf2.inference.predictor import Predictor
    from cmpc_tf2.model_files import load_model

    predictor = Predictor(load_model(model_file))
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for _ in range(3):
        times.append(now())
        predictor.set_image(image)
        predictor.predict(EXPRESSION)
        take("encoding and decoding, warm")
    return figures


def now() -> tuple[float, float]:
    """The clock, and the processor's seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
