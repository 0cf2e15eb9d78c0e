"""CMPC compared with the models it builds on: LSTM baseline, RMI, RRN, CMPC on the embedded data set `shapes`.

Trains small models of equal widths from scratch for equal steps with several seeds, by the commands that a user would
type, on one thread each; then measures, on all cores, what an expression costs at those sizes and at the released ones.
Runs that are finished in the output folder are not taken again.

    python benchmarks/comparison.py --plot docs/comparison.png
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import interleave, run_alone, write_json
from shapes_study import SPLITS, add_options, by_title, run_folder, run_study, sizes_of

MODELS = {"LSTM baseline": "lstm", "RMI": "rmi", "RRN": "rrn", "CMPC": "cmpc"}
EXPRESSIONS = 7
WORDS = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, "model_comparison")
    parser.set_defaults(steps=4000)  # The LSTM baseline marks next to nothing in the first two thousand.
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the scores and how they came about")
    parser.add_argument("--alone", choices=MODELS.values(), help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure_model(arguments.alone, arguments.small)))
        return
    scores = run_study({title: {"model": name} for title, name in MODELS.items()}, arguments)
    if arguments.plot:
        draw(scores, arguments)
    print(f"\nCost, in GFLOP, of an expression of {WORDS} words: alone, and as one of seven about a picture\n")
    print("| model | parameters | alone | of seven | parameters at full size | alone | of seven |\n|---|" + "---|" * 6)
    figures = by_title(scores)
    for title, name in MODELS.items():
        rows = {"small": run_alone(__file__, name, "--small"), "full": run_alone(__file__, name)}
        cells = [f"{row['parameters']:,} | {row['alone']:.3g} | {row['of_seven']:.3g}" for row in rows.values()]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
        figures |= {f"{title}, {size} size": row for size, row in rows.items()}
    write_json(arguments, figures)


def measure_model(name: str, small: bool) -> dict:
    """Parameters and the cost of an expression, with random weights."""
    import numpy as np

    from cmpc_tf2.data.shapes import vocabulary
    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.systems import SYSTEMS

    sizes = {**sizes_of(name), "vocabulary_size": len(vocabulary())} if small else {}
    model = SYSTEMS[name].model_type(SYSTEMS[name].config_type(**sizes), name=name)
    config, parameters = model.config, model.count_params()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, config.image_size, config.image_size, 3), dtype=np.uint8)
    token_ids = np.zeros((EXPRESSIONS, config.max_words), np.int32)
    token_ids[:, -WORDS:] = rng.integers(4, config.vocabulary_size, size=(EXPRESSIONS, WORDS))
    ready = ModelRunner(model)
    steps = [lambda n=n: ready.decode(ready.encode(pixels), {"token_ids": token_ids[:n]}) for n in (1, EXPRESSIONS)]
    alone, seven = interleave(steps, repeats=31 if small else 7)
    return {"parameters": parameters, "alone": alone["cost"], "of_seven": seven["cost"] / EXPRESSIONS}


def draw(scores: dict, arguments: argparse.Namespace):
    """Scores of every seed and their mean; overall IoU on the training batches over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from cmpc_tf2.training.run_log import read_log

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for place, (title, name) in enumerate(MODELS.items()):
        color = f"C{place}"
        for group, split in enumerate(SPLITS):
            values = [scores[title, seed]["", split] for seed in arguments.seeds]
            x = group + (place - 1.5) * 0.2
            left.bar(x, statistics.mean(values), 0.18, color=color, alpha=0.5, label=title if group == 0 else None)
            left.plot([x] * len(values), values, ".", color=color)
        for seed in arguments.seeds:
            entries = read_log(run_folder(arguments.output, arguments.steps, seed, model=name))
            points = [(int(entry["step"]), float(entry["overall_iou"])) for entry in entries]
            right.plot(*zip(*points, strict=True), color=color, alpha=0.7, label=title if seed == 0 else None)
    left.set(title="overall IoU: mean and each seed", ylim=(0, 1))
    left.set_xticks(range(len(SPLITS)), SPLITS)
    right.set(title="overall IoU on training batches", xlabel="step", ylim=(0, 1))
    left.legend(ncols=2)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(arguments.plot, dpi=120)


if __name__ == "__main__":
    main()
