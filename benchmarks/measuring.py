"""The figures of all benchmarks of arithmetic: cost = seconds x the sgemm GFLOP/s of the same run, and peak memory.

Seconds mean nothing on a machine that others use too; cost is nearly the same on a busy and on an idle one.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PRODUCT_SIZE = 2048
PRODUCTS_BETWEEN = 5


def interleave(steps: list[Callable[[], object]], repeats: int, warm_up: int = 2) -> list[dict[str, float]]:
    """Times functions in turn, with float32 matrix products in between.

    Args:
        steps: What is measured; each must not return before its work is done.
        repeats: How often each.
        warm_up: Calls before, not counted.

    Returns:
        For each: `seconds`: the median. `gflops`: the best rate of a 2048-size product. `cost`: their product, in
        GFLOP. `peak_mb`: the process's largest resident memory so far.
    """
    multiply = make_product()

    for function in [*steps, multiply] * warm_up:
        function()
    seconds, products = [[] for _ in steps], []
    for _ in range(repeats):
        for times, step in zip(seconds, steps, strict=True):
            times.append(_time(step))
            products += [_time(multiply) for _ in range(PRODUCTS_BETWEEN)]
    gflops = gflops_of(min(products))
    medians = [statistics.median(times) for times in seconds]
    return [{"seconds": m, "gflops": gflops, "cost": m * gflops, "peak_mb": peak_megabytes()} for m in medians]


def add_json_option(parser: argparse.ArgumentParser):
    """`--json FILE`, for `write_json`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")


def write_json(arguments: argparse.Namespace, figures: dict):
    """Writes the figures, if `--json` was given."""
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def make_product() -> Callable[[], object]:
    """The float32 matrix product that machines are compared by."""
    import tensorflow as tf

    matrix = tf.random.normal((PRODUCT_SIZE, PRODUCT_SIZE))
    return lambda: tf.matmul(matrix, matrix).numpy()


def gflops_of(seconds: float) -> float:
    """The rate of such a product."""
    return 2 * PRODUCT_SIZE**3 / seconds / 1e9


def run_alone(script: str, *options) -> dict:
    """Runs a benchmark script with `--alone` in a process of its own, so that its peak memory is its own.

    Returns:
        What it printed as JSON on its last line.
    """
    command = [sys.executable, script, "--alone", *map(str, options)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def peak_megabytes() -> float:
    """The process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
