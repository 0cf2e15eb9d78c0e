"""What bfloat16 costs and gains: masks of a split in bfloat16 against those in float32, and the time of each.

python benchmarks/precision.py --model cmpc_unc.keras -d unc -t val
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from measuring import add_json_option, write_json

from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.inference.runner import ModelRunner
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.model_files import load_for_inference
from cmpc_tf2.tasks.masks.metrics import intersection_and_union
from cmpc_tf2.tasks.masks.protocol import SCORE_THRESHOLD


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, metavar="FILE.keras")
    parser.add_argument("-d", "--dataset", required=True)
    parser.add_argument("-t", "--split", required=True)
    parser.add_argument("--batch-root", type=Path, default=Path("."))
    parser.add_argument("--samples", type=int, default=50)
    add_json_option(parser)
    arguments = parser.parse_args()
    models = {p: ModelRunner(load_for_inference(arguments.model, p)) for p in ("float32", "bfloat16")}
    pairs, seconds, differences = [], {name: [] for name in models}, []
    for path in list_batches(arguments.batch_root, arguments.dataset, arguments.split)[: arguments.samples]:
        sample = read_batch(path)
        logits = {}
        for name, model in models.items():
            images = model.preprocessing.fit(sample.image)[None]
            start = time.perf_counter()
            logits[name] = model.decode(model.encode(images), {"token_ids": sample.token_ids[None]})[0]
            seconds[name].append(time.perf_counter() - start)
        differences.append(np.abs(logits["bfloat16"] - logits["float32"]).max())
        pairs.append(intersection_and_union(*(values >= SCORE_THRESHOLD for values in logits.values())))
    summary = PICTURES.task.scores.summarize(pairs)
    times = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{len(differences)} samples; seconds per expression: " + ", ".join(f"{n} {t:.3f}" for n, t in times.items()))
    print(f"bfloat16 is {times['float32'] / times['bfloat16']:.2f} times as fast")
    print(f"masks against float32: overall IoU {summary['overall_iou']:.4f}, mean IoU {summary['mean_iou']:.4f}")
    largest = float(np.max(differences))
    print(f"largest difference of a logit: {largest:.3f}")
    write_json(arguments, {"seconds": times, "masks": summary, "largest_difference": largest})


if __name__ == "__main__":
    main()
