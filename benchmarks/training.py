"""Training steps at full size, on random pictures: steps a second, cost and peak memory by batch size.

Each batch size runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--finetune-backbone", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure_steps(arguments)))
        return
    results = {}
    print(f"{'batch':>6}{'s/step':>9}{'steps/s':>9}{'cost/step':>11}{'cost/sample':>13}{'peak MB':>9}{'GFLOP/s':>9}")
    for size in arguments.batch_sizes:
        options = ["--alone", "--batch-sizes", size, "--precision", arguments.precision]
        options += ["--accumulate", arguments.accumulate, "--repeats", arguments.repeats]
        options += ["--finetune-backbone"] if arguments.finetune_backbone else []
        command = [sys.executable, __file__, *map(str, options)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        results[size] = figures = json.loads(output.splitlines()[-1])
        print(
            f"{size:6}{figures['seconds']:9.2f}{1 / figures['seconds']:9.3f}{figures['cost']:11.0f}"
            f"{figures['cost'] / size:13.0f}{figures['peak_mb']:9.0f}{figures['gflops']:9.0f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def measure_steps(arguments: argparse.Namespace) -> dict:
    """Figures of one batch size."""
    import numpy as np
    import tensorflow as tf
    from measuring import interleave

    from cmpc_tf2.config import ModelConfig, TrainConfig
    from cmpc_tf2.models.cmpc import CMPC
    from cmpc_tf2.precision import computing_in
    from cmpc_tf2.trainer import Trainer

    (size,) = arguments.batch_sizes
    config = TrainConfig(
        "unc",
        "train",
        batch_size=size,
        accumulate=arguments.accumulate,
        finetune_backbone=arguments.finetune_backbone,
        precision=arguments.precision,
    )
    with computing_in(config.precision):
        trainer = Trainer(CMPC(ModelConfig(), name="cmpc"), config)
    rng = np.random.default_rng(0)
    token_ids = np.zeros((size, 20), np.int32)
    token_ids[:, 12:] = rng.integers(4, 12112, size=(size, 8))
    inputs = {"image": tf.constant(rng.normal(0, 60, (size, 320, 320, 3)), tf.float32), "token_ids": token_ids}
    target = tf.constant(rng.random((size, 320, 320, 1)) < 0.2, tf.float32)
    step = tf.function(trainer.train_step)
    (figures,) = interleave([lambda: float(step((inputs, target))["loss"])], arguments.repeats)
    return figures


if __name__ == "__main__":
    main()
