"""Reading train batches: the tf.data stream against a single-threaded `np.load` loop, in the same run.

The comparison does what the original does with each file: `np.load`, float32, blue first, minus the
mean in double precision, a mask with a channel. Prints rates, and resident memory after each epoch of the stream. With
`--steps`, the full-size CMPC is trained from the stream, and the share of the time in which it waits is printed.

The rate of one core: `taskset -c 0 python benchmarks/input_pipeline.py`.
"""

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from measuring import add_json_option, write_json

from cmpc_tf2.data.batches import Sample, write_batch
from cmpc_tf2.data.pipeline import training_dataset
from cmpc_tf2.preprocessing.preprocessing import Preprocessing

MEAN = np.array((104.00698793, 116.66876762, 122.67891434))
SIZE = 320


def original_loop(paths: list[Path]):
    """The original's reader and preprocessing."""
    for path in paths:
        arrays = np.load(path)
        batch = dict(arrays)
        arrays.close()
        image = batch["im_batch"].astype(np.float32)
        mask = np.expand_dims(batch["mask_batch"].astype(np.float32), axis=2)
        image = image[:, :, ::-1]
        image -= MEAN
        yield batch["text_batch"], image, mask


def resident_megabytes() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=400, help="files of 0.41 MB, made for the benchmark")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="training steps at full size")
    add_json_option(parser)
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    try:
        rng = np.random.default_rng(0)
        paths = [scratch / f"unc_train_{number}.npz" for number in range(arguments.files)]
        for path in paths:
            image = rng.integers(0, 256, size=(SIZE, SIZE, 3), dtype=np.uint8)
            write_batch(path, Sample(np.arange(20), image, image[..., 0] > 100, "the man in white holding a frisbee"))

        stream = iter(training_dataset(paths, arguments.batch_size, Preprocessing(SIZE)))
        steps = arguments.files // arguments.batch_size
        for _ in range(steps):
            next(stream)
        rates = {"original": [], "tf.data": []}
        memory = []
        for _ in range(arguments.runs):
            start = time.perf_counter()
            for _ in original_loop(paths):
                pass
            rates["original"].append(arguments.files / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(steps):
                next(stream)
            rates["tf.data"].append(steps * arguments.batch_size / (time.perf_counter() - start))
            memory.append(resident_megabytes())
        waiting = share_of_waiting(stream, arguments.steps) if arguments.steps else None
    finally:
        shutil.rmtree(scratch)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"{name:10} {rate:8.0f} samples/s")
    print(f"ratio      {medians['tf.data'] / medians['original']:8.1f}")
    print("resident memory after each epoch, MB:", *(f"{value:.0f}" for value in memory))
    if waiting is not None:
        print(f"waiting for the stream in training: {waiting:.2%} of the time")
    write_json(arguments, {"samples_per_second": medians, "resident_mb": memory, "share_of_waiting": waiting})


def share_of_waiting(stream, steps: int) -> float:
    """The share of the time of training steps that passes before the stream has given the batch."""
    import tensorflow as tf

    from cmpc_tf2.models.cmpc.config import CMPCConfig
    from cmpc_tf2.models.cmpc.model import CMPC
    from cmpc_tf2.training.config import TrainConfig
    from cmpc_tf2.training.trainer import Trainer

    step = tf.function(Trainer(CMPC(CMPCConfig(), name="cmpc"), TrainConfig("unc", "train")).train_step)
    waited = whole = 0.0
    for number in range(steps + 1):
        start = time.perf_counter()
        batch = next(stream)
        ready = time.perf_counter()
        float(step(batch)["loss"])
        if number:  # The first step includes tracing.
            waited += ready - start
            whole += time.perf_counter() - start
    return waited / whole


if __name__ == "__main__":
    main()
