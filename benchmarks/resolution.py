"""Cost and peak memory of one expression by picture size, here and in the original's graph.

The number of cells grows with the square of the size; the original's graph has matrices of cells times cells. Each row
runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import add_json_option, interleave, run_alone, write_json

SIZES = (320, 480, 640)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    add_json_option(parser)
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        kind, size = arguments.alone
        print(json.dumps(measure(kind, int(size), arguments.repeats)))
        return
    results = {}
    print(f"{'':8}{'size':>6}{'cells':>7}{'s':>8}{'cost':>8}{'per 1000 cells':>16}{'peak MB':>9}")
    for kind in ("ours", "naive"):
        for size in SIZES:
            row = run_alone(__file__, kind, size, "--repeats", arguments.repeats)
            results[f"{kind} {size}"] = row
            cells = (size // 8) ** 2
            print(
                f"{kind:8}{size:6}{cells:7}{row['seconds']:8.3f}{row['cost']:8.0f}{1000 * row['cost'] / cells:16.0f}"
                f"{row['peak_mb']:9.0f}",
                flush=True,
            )
    write_json(arguments, results)


def measure(kind: str, size: int, repeats: int) -> dict:
    """Figures of one row."""
    import keras
    import numpy as np
    import tensorflow as tf
    from naive_graph import NaiveGraph

    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.models.cmpc.config import CMPCConfig
    from cmpc_tf2.models.cmpc.model import CMPC

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = CMPC(CMPCConfig(image_size=size), name="cmpc")
    token_ids = np.zeros((1, 20), np.int32)
    token_ids[:, 12:] = rng.integers(4, 12112, size=(1, 8))
    if kind == "naive":
        compute = tf.function(NaiveGraph(model))
        image = tf.constant(rng.normal(0, 60, (1, size, size, 3)), tf.float32)
        (figures,) = interleave([lambda: compute(image, tf.constant(token_ids))["mask_logits"].numpy()], repeats)
        return figures
    ready = ModelRunner(model)
    images = rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    (figures,) = interleave([lambda: ready.decode(ready.encode(images), {"token_ids": token_ids})], repeats)
    return figures


if __name__ == "__main__":
    main()
