"""Evaluating a split at full size, with and without DenseCRF: cost per expression, and whether memory grows.

The pictures are drawn (`shapes`, enlarged to 480 x 640) and the weights random, so the scores mean nothing; every
picture has seven expressions, as in RefCOCO. More passes over the split in the same process show whether memory grows.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import keras
import numpy as np
from measuring import add_json_option, gflops_of, make_product, peak_megabytes, write_json

from cmpc_tf2.data.batches import Sample, batch_path, list_batches, write_batch
from cmpc_tf2.data.shapes import SEED, compose
from cmpc_tf2.inference.evaluation import evaluate
from cmpc_tf2.inference.runner import ModelRunner
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.precision import computing_in
from cmpc_tf2.text.vocabulary import MAX_WORDS

EXPRESSIONS = 7


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--passes", type=int, default=2, help="with DenseCRF")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=EXPRESSIONS)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    add_json_option(parser)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    with computing_in(arguments.precision, weights=arguments.precision):
        model = ModelRunner(CMPC(CMPCConfig(), name="cmpc"))
    options = {"batch_size": arguments.batch_size, "workers": arguments.workers}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), arguments.pictures)
        paths = list_batches(folder, "shapes", "val")
        evaluate(model, paths[:EXPRESSIONS], dcrf=True, **options)
        print(f"{'':16}{'expressions':>12}{'s each':>8}{'cost each':>11}{'peak MB':>9}{'GFLOP/s':>9}")
        for name, dcrf in (("plain", False), *((f"DenseCRF, {n + 1}", True) for n in range(arguments.passes))):
            rate = [gflops()]
            start = time.perf_counter()
            evaluate(model, paths, dcrf=dcrf, **options)
            seconds = (time.perf_counter() - start) / len(paths)
            rate.append(gflops())
            row = {"seconds": seconds, "gflops": max(rate), "cost": seconds * max(rate), "peak_mb": peak_megabytes()}
            results[name] = row
            print(
                f"{name:16}{len(paths):12}{seconds:8.3f}{row['cost']:11.0f}{row['peak_mb']:9.0f}{row['gflops']:9.0f}",
                flush=True,
            )
    write_json(arguments, results)


def write_split(folder: Path, pictures: int):
    """A test split with seven random expressions of each picture."""
    rng = np.random.default_rng(0)
    batch_path(folder, "shapes", "val", 0).parent.mkdir(parents=True)
    for number in range(pictures):
        image = cv2.resize(compose(number, "val", SEED).pixels, (640, 480))
        for index in range(EXPRESSIONS):
            token_ids = np.zeros(MAX_WORDS, np.int64)
            token_ids[12:] = rng.integers(4, 12112, size=8)
            mask = np.zeros(image.shape[:2], bool)
            mask[100:200, 100 : 200 + 20 * index] = True
            path = batch_path(folder, "shapes", "val", number * EXPRESSIONS + index)
            write_batch(path, Sample(token_ids, image, mask, "random"))


def gflops() -> float:
    """The best rate of twenty float32 products."""
    multiply, seconds = make_product(), []
    for _ in range(20):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return gflops_of(min(seconds))


if __name__ == "__main__":
    main()
