"""What a smaller type costs and gains: a split in bfloat16, or by a file with int8 weights, against float32.

Prints the time of each, how well the masks agree, and the scores of both. Models read the stored token ids.

python benchmarks/precision.py --model cmpc_unc.keras -d unc -t val
python benchmarks/precision.py --model cmpc_unc.keras -d unc -t val --tflite cmpc_unc.tflite cmpc_unc_int8.tflite
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from measuring import add_json_option, write_json

from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.exporting.graph_files import load_tflite
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
    parser.add_argument(
        "--tflite", type=Path, nargs=2, metavar=("FLOAT32", "INT8"), help="exported files to compare; default: bfloat16"
    )
    add_json_option(parser)
    arguments = parser.parse_args()
    model = load_for_inference(arguments.model)
    if arguments.tflite:
        full, small = arguments.tflite
        models = {"float32": from_file(full, model), "int8": from_file(small, model)}
    else:
        low = load_for_inference(arguments.model, "bfloat16")
        models = {"float32": from_runner(ModelRunner(model)), "bfloat16": from_runner(ModelRunner(low))}
    other = list(models)[1]
    task, protocol = PICTURES.task, PICTURES.task.protocol(model.protocol_name)
    pairs, differences = [], []
    seconds, records = ({name: [] for name in models} for _ in range(2))
    for path in list_batches(arguments.batch_root, arguments.dataset, arguments.split)[: arguments.samples]:
        sample = read_batch(path)
        pixels, logits = sample.fitted(model.preprocessing)[None], {}
        for name, decode in models.items():
            start = time.perf_counter(), time.process_time()
            logits[name] = decode(pixels, sample.token_ids[None])
            seconds[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
            records[name].append(protocol.score(sample, logits[name], model.preprocessing)[1])
        differences.append(np.abs(logits[other] - logits["float32"]).max())
        pairs.append(intersection_and_union(*(values >= SCORE_THRESHOLD for values in logits.values())))
    agreement, scores = task.scores.summarize(pairs), {name: task.summarize(found) for name, found in records.items()}
    times = {name: [statistics.median(kind) for kind in zip(*found, strict=True)] for name, found in seconds.items()}
    print(f"{len(differences)} samples; medians for one expression:")
    for name, (clock, processor) in times.items():
        print(f"{name:10}{clock:8.4f} s, {processor:8.4f} s of the processor")
    ratios = [full / low for full, low in zip(times["float32"], times[other], strict=True)]
    print(f"{other} is {ratios[0]:.2f} times as fast, {ratios[1]:.2f} in seconds of the processor")
    print(f"masks against float32: {in_words(agreement)}")
    for name, found in scores.items():
        print(f"scores of {name}: {in_words(found['plain'])}; masks at own size: {in_words(found['own_size'])}")
    largest = float(np.max(differences))
    print(f"largest difference of a logit: {largest:.3f}")
    write_json(arguments, {"seconds": times, "masks": agreement, "scores": scores, "largest_difference": largest})


def from_runner(runner: ModelRunner) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A model of this project: from fitted pixels and token ids of one sample to logits, float32 `(S, S)`."""
    return lambda pixels, token_ids: runner.decode(runner.encode(pixels), {"token_ids": token_ids})[0]


def from_file(path: Path, model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """An exported file, as `from_runner`."""
    run, normalize = load_tflite(path), model.preprocessing.normalize
    return lambda pixels, ids: run({"image": normalize(pixels), "token_ids": ids.astype(np.int32)})[0, ..., 0]


def in_words(scores: dict) -> str:
    return f"overall IoU {scores['overall_iou']:.4f}, mean IoU {scores['mean_iou']:.4f}"


if __name__ == "__main__":
    main()
