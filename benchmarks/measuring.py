"""What every benchmark of arithmetic states: cost = seconds x the sgemm GFLOP/s of the same run, and peak memory.

Seconds mean nothing on a machine that others use too; cost is nearly the same on a busy and on an idle one.
"""

import resource
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

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
    matrix = tf.random.normal((PRODUCT_SIZE, PRODUCT_SIZE))

    def multiply():
        return tf.matmul(matrix, matrix).numpy()

    for function in [*steps, multiply] * warm_up:
        function()
    seconds, products = [[] for _ in steps], []
    for _ in range(repeats):
        for times, step in zip(seconds, steps, strict=True):
            times.append(_time(step))
            products += [_time(multiply) for _ in range(PRODUCTS_BETWEEN)]
    gflops = 2 * PRODUCT_SIZE**3 / min(products) / 1e9
    medians = [statistics.median(times) for times in seconds]
    return [{"seconds": m, "gflops": gflops, "cost": m * gflops, "peak_mb": peak_megabytes()} for m in medians]


def peak_megabytes() -> float:
    """The process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
