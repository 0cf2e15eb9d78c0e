"""How long a user waits before anything happens: `--help` of every command, loading a full-size model, exporting it."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import add_json_option, write_json

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    "build_batches.py",
    "tools/convert_tf1_ckpt.py",
    *(f"-m cmpc_tf2 {name}" for name in ("train", "evaluate", "predict", "export", "convert", "demo")),
)
MAKE_MODEL = """
import sys
from cmpc_tf2.model_files import save_model
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.models.cmpc.model import CMPC
save_model(CMPC(CMPCConfig(), name="cmpc"), sys.argv[1])
"""
LOAD_MODEL = "import sys, cmpc_tf2; cmpc_tf2.load_model(sys.argv[1])"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    add_json_option(parser)
    arguments = parser.parse_args()
    figures = {}

    def tell(what: str, seconds: float):
        figures[what] = seconds
        print(f"{what:44}{seconds:7.2f} s", flush=True)

    for command in COMMANDS:
        tell(f"{command} --help", statistics.median(run(*command.split(), "--help") for _ in range(arguments.repeats)))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "full.keras"
        run("-c", MAKE_MODEL, model)
        tell("load_model at full size, from a new process", run("-c", LOAD_MODEL, model))
        exported = Path(folder) / "exported"
        seconds = run("-m", "cmpc_tf2", "export", "--model", model, "--output", exported)
        size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
        tell(f"export at full size, checked ({size / 1e6:.0f} MB)", seconds)
    write_json(arguments, figures)


def run(*words) -> float:
    """Seconds that a Python command takes."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = time.perf_counter()
    command = [sys.executable, *map(str, words)]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
