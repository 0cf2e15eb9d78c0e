"""What each part of CMPC earns, and what the MaskRIS recipe does, on the embedded data set `shapes`.

Trains the demo's small model from scratch in several variants and with several seeds, each run by the commands that a
user would type, on one thread each. Runs that are finished in the output folder are not taken again.

    python benchmarks/shapes_study.py ablations
    python benchmarks/shapes_study.py maskris

`maskris` scores each model twice: on the pictures as they are, and with a part of the cells of a 10 x 10 grid painted
over in the picture's mean colour. What is hidden still counts: the ground truth stays as it is.
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmpc_tf2.config import ABLATIONS
from cmpc_tf2.data.batches import list_batches, read_batch, write_batch
from cmpc_tf2.data.masking import PATCHES
from cmpc_tf2.demo import SIZES, SPLITS, TRAINING, build_data

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = 0.3
# Name of a variant: parts left out, recipe.
STUDIES = {
    "ablations": {"CMPC": ((), "original"), **{f"without {part}": ((part,), "original") for part in ABLATIONS}},
    "maskris": {"original": ((), "original"), "maskris": ((), "maskris")},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--output", type=Path, default=Path("shapes_study"), metavar="DIR")
    arguments = parser.parse_args()
    folder = arguments.output
    if not (folder / "shapes" / "testB_batch").is_dir():
        build_data(folder)
    conditions = {"": folder}
    if arguments.study == "maskris":
        conditions["occluded"] = folder / "occluded"
        hide_parts(folder, conditions["occluded"])

    variants = STUDIES[arguments.study]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = {
            (name, seed): pool.submit(train_and_score, folder, conditions, *variant, arguments.steps, seed)
            for seed in arguments.seeds
            for name, variant in variants.items()
        }
        scores = {key: run.result() for key, run in runs.items()}
    columns = [(condition, split) for condition in conditions for split in SPLITS]
    titles = [f"{condition} {split}".strip() for condition, split in columns]
    print(f"Overall IoU after {arguments.steps} steps: mean over the seeds {arguments.seeds}, and each of them\n")
    print(f"| variant | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
    for name in variants:
        cells = []
        for column in columns:
            values = [scores[name, seed][column] for seed in arguments.seeds]
            cells.append(f"{statistics.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})")
        print(f"| {name} | {' | '.join(cells)} |")


def train_and_score(folder: Path, conditions: dict, without: tuple, recipe: str, steps: int, seed: int) -> dict:
    """Overall IoU by condition and split."""
    run = folder / "_".join(["run", *without, recipe, str(steps), f"seed{seed}"])
    if not (run / "last.keras").exists():
        sizes = run.with_suffix(".json")
        sizes.write_text(json.dumps({**SIZES, "without": without}))
        options = ["--sizes", sizes, "--vocabulary", folder / "data" / "vocabulary_shapes.txt", *TRAINING]
        options += ["--steps", steps, "--decay-steps", steps, "--checkpoint-every", 500, "--seed", seed]
        start = ["-d", "shapes", "-t", "train", "--batch-root", folder, "--recipe", recipe, *options]
        command("train", "--output-dir", run, *(["--resume"] if (run / "config.json").exists() else start))
    scores = {}
    for condition, root in conditions.items():
        for split in SPLITS:
            report = run / f"{condition or 'plain'}_{split}.json"
            if not report.exists():
                batches = ["-d", "shapes", "-t", split, "--batch-root", root]
                command("evaluate", "--model", run / "last.keras", *batches, "--report", report)
            scores[condition, split] = json.loads(report.read_bytes())["plain"]["overall_iou"]
    return scores


def hide_parts(source: Path, target: Path):
    """Copies the splits to score with a part of every picture painted over."""
    for split in SPLITS:
        paths = list_batches(source, "shapes", split)
        for number, path in enumerate(paths):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            sample = read_batch(path)
            rng = np.random.default_rng([number, SPLITS.index(split)])
            hidden = rng.random((PATCHES, PATCHES)) < HIDDEN
            row, column = (np.arange(side) * PATCHES // side for side in sample.mask.shape)
            image = sample.image.copy()
            image[hidden[row[:, None], column]] = image.reshape(-1, 3).mean(axis=0)
            write_batch(copy, type(sample)(sample.token_ids, image, sample.mask, sample.expression))


def command(*words):
    """Runs a command of the project on one thread; its output is shown only if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    full = [sys.executable, "-m", "cmpc_tf2", *map(str, words)]
    result = subprocess.run(full, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(full)}\n{result.stderr}")


if __name__ == "__main__":
    main()
