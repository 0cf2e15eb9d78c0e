"""Inputs and answers of both sides of `maskris.py`; needs no more than numpy."""

import json
import resource
import sys
import time

import numpy as np


def make_inputs(pictures: int, sentences: int):
    """Random normalised pictures `(B, 448, 448, 3)` float32, token ids `(N, 20)` int32; always the same."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(pictures, 448, 448, 3)).astype(np.float32)
    return images, rng.integers(1000, 30522, size=(sentences, 20)).astype(np.int32)


def answer(step):
    """Calls `step` for each line of the standard input."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)
