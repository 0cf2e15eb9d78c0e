"""What every benchmark of arithmetic states: cost = seconds x the sgemm GFLOP/s of the same run, and peak memory.

Seconds mean nothing on a machine that others use too; cost is nearly the same on a busy and on an idle one.
"""

import resource
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

PRODUCT_SIZE = 2048


def measure(step: Callable[[], object], repeats: int, warm_up: int = 2) -> dict[str, float]:
    """Times a function, with float32 matrix products in between.

    Args:
        step: What is measured; it must not return before its work is done.
        repeats: How often.
        warm_up: Calls before, not counted.

    Returns:
        `seconds`: the median. `gflops`: the best rate of a 2048-size product. `cost`: their product, in GFLOP.
        `peak_mb`: the process's largest resident memory so far.
    """
    matrix = tf.random.normal((PRODUCT_SIZE, PRODUCT_SIZE))
    for _ in range(warm_up):
        step()
        tf.matmul(matrix, matrix)
    seconds, products = [], []
    for _ in range(repeats):
        seconds.append(_time(step))
        products += [_time(lambda: tf.matmul(matrix, matrix).numpy()) for _ in range(5)]
    gflops = 2 * PRODUCT_SIZE**3 / min(products) / 1e9
    median = statistics.median(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": median, "gflops": gflops, "cost": median * gflops, "peak_mb": peak}


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
