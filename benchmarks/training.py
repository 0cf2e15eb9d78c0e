"""Training steps of CMPC at full size, on random pictures: steps a second, cost and peak memory by batch size.

Each row runs in a process of its own, so that its peak memory is its own. `peers.py` compares with the original.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import add_json_option, interleave, run_alone, write_json


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--finetune-backbone", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    add_json_option(parser)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure_steps(arguments)))
        return
    results = {}
    print(f"{'batch':>6}{'s/step':>9}{'steps/s':>9}{'cost/step':>11}{'cost/sample':>13}{'peak MB':>9}{'GFLOP/s':>9}")
    for size in arguments.batch_sizes:
        options = ["--batch-sizes", size, "--precision", arguments.precision, "--accumulate", arguments.accumulate]
        options += ["--repeats", arguments.repeats] + ["--finetune-backbone"] * arguments.finetune_backbone
        results[size] = row = run_alone(__file__, *options)
        print(
            f"{size:6}{row['seconds']:9.2f}{1 / row['seconds']:9.3f}{row['cost']:11.0f}"
            f"{row['cost'] / size:13.0f}{row['peak_mb']:9.0f}{row['gflops']:9.0f}",
            flush=True,
        )
    write_json(arguments, results)


def measure_steps(arguments: argparse.Namespace) -> dict:
    """Figures of one row."""
    import numpy as np
    import tensorflow as tf

    from cmpc_tf2.models.cmpc.config import CMPCConfig
    from cmpc_tf2.models.cmpc.model import CMPC
    from cmpc_tf2.precision import computing_in
    from cmpc_tf2.training.config import TrainConfig
    from cmpc_tf2.training.trainer import Trainer

    (size,) = arguments.batch_sizes
    rng = np.random.default_rng(0)
    token_ids = np.zeros((size, 20), np.int32)
    token_ids[:, 12:] = rng.integers(4, 12112, size=(size, 8))
    image = tf.constant(rng.normal(0, 60, (size, 320, 320, 3)), tf.float32)
    target = tf.constant(rng.random((size, 320, 320, 1)) < 0.2, tf.float32)
    token_ids = tf.constant(token_ids)
    config = TrainConfig(
        "unc",
        "train",
        batch_size=size,
        accumulate=arguments.accumulate,
        finetune_backbone=arguments.finetune_backbone,
        precision=arguments.precision,
    )
    with computing_in(config.precision):
        trainer = Trainer(CMPC(CMPCConfig(), name="cmpc"), config)
    step = tf.function(trainer.train_step)
    data = ({"image": image, "token_ids": token_ids}, target)
    (figures,) = interleave([lambda: float(step(data)["loss"])], arguments.repeats)
    return figures


if __name__ == "__main__":
    main()
