"""What each part of CMPC earns, and what masked passes do, on the embedded data set `shapes`.

Trains the demo's small model from scratch in several variants and with several seeds, each run by the commands that a
user would type, on one thread each. Runs that are finished in the output folder are not taken again.

    python benchmarks/shapes_study.py ablations
    python benchmarks/shapes_study.py masked

`masked` scores each model twice: on the pictures as they are, and with a part of the cells of a 10 x 10 grid painted
over in the picture's mean colour. What is hidden still counts: the ground truth stays as it is.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import add_json_option, write_json

from cmpc_tf2.commands.demo import SIZES, SPLITS, TRAINING, build_data
from cmpc_tf2.data.batches import list_batches, read_batch, write_batch
from cmpc_tf2.models.cmpc.config import ABLATIONS
from cmpc_tf2.recipes.masking import PATCHES
from cmpc_tf2.systems import SYSTEMS

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = 0.3
# Name of a variant: what distinguishes it, as `train_and_score` takes it.
STUDIES = {
    "ablations": {"CMPC": {}, **{f"without {part}": {"without": (part,)} for part in ABLATIONS}},
    "masked": {"original": {}, "masked": {"recipe": "masked"}},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    add_options(parser, "shapes_study")
    arguments = parser.parse_args()
    scores = run_study(STUDIES[arguments.study], arguments, occluded=arguments.study == "masked")
    write_json(arguments, by_title(scores))


def add_options(parser: argparse.ArgumentParser, output: str):
    """What every study on `shapes` can be told."""
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--output", type=Path, default=Path(output), metavar="DIR")
    add_json_option(parser)


def run_study(variants: dict[str, dict], arguments: argparse.Namespace, occluded: bool = False) -> dict:
    """Trains and scores every variant with every seed, and prints the table.

    Returns:
        Overall IoU by variant and seed, then by condition and split.
    """
    folder = arguments.output
    if not (folder / "shapes" / "testB_batch").is_dir():
        build_data(folder)
    conditions = {"": folder}
    if occluded:
        conditions["occluded"] = folder / "occluded"
        hide_parts(folder, conditions["occluded"])

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = {
            (name, seed): pool.submit(train_and_score, folder, conditions, arguments.steps, seed, **variant)
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
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return scores


def by_title(scores: dict) -> dict:
    """What `run_study` gives, with names that JSON takes."""
    return {
        f"{name}, seed {seed}": {f"{condition} {split}".strip(): value for (condition, split), value in row.items()}
        for (name, seed), row in scores.items()
    }


def run_folder(folder: Path, steps: int, seed: int, model="cmpc", without=(), recipe="original") -> Path:
    """Where a run of a variant is kept."""
    return folder / "_".join(["run", model, *without, recipe, str(steps), f"seed{seed}"])


def train_and_score(folder: Path, conditions: dict, steps: int, seed: int, **variant) -> dict:
    """Overall IoU by condition and split.

    Args:
        variant: `model`: its name. `without`: parts of CMPC left out. `recipe`: of training.
    """
    run = run_folder(folder, steps, seed, **variant)
    if not (run / "last.keras").exists():
        model, without = variant.get("model", "cmpc"), variant.get("without")
        sizes = run.with_suffix(".json")
        sizes.write_text(json.dumps({**sizes_of(model), **({"without": without} if without else {})}))
        options = ["--sizes", sizes, "--vocabulary", folder / "data" / "vocabulary_shapes.txt", *TRAINING]
        options += ["--steps", steps, "--decay-steps", steps, "--checkpoint-every", 500, "--seed", seed]
        options += ["--model-name", model, "--recipe", variant.get("recipe", "original")]
        start = ["-d", "shapes", "-t", "train", "--batch-root", folder, *options]
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


def sizes_of(model: str) -> dict:
    """The demo's sizes, as far as a model has them."""
    fields = {field.name for field in dataclasses.fields(SYSTEMS[model].config_type)}
    return {name: size for name, size in SIZES.items() if name in fields}


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
