"""Studies on the embedded data set `shapes`: ablations of CMPC, masked passes, and MaskRIS and CARIS next to CMPC.

Trains small models from scratch in several variants and with several seeds, each run by the commands that a user would
type, on one thread each. Runs that are finished in the output folder are not taken again.

    python benchmarks/shapes_study.py ablations
    python benchmarks/shapes_study.py masked
    python benchmarks/shapes_study.py maskris --steps 4000

`masked` and `maskris` score each model twice: on the pictures as they are, and with a part of the cells of a 10 x 10
grid painted over in the picture's mean colour. Hidden pixels still count: the ground truth stays as it is.
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

from cmpc_tf2.commands.demo import SIZES, SPLITS, TRAINING, build_data, call, environment
from cmpc_tf2.data.batches import list_batches, read_batch, write_batch
from cmpc_tf2.data.shapes import vocabulary
from cmpc_tf2.models.cmpc.config import ABLATIONS
from cmpc_tf2.recipes.masking import PATCHES
from cmpc_tf2.systems import SYSTEMS
from cmpc_tf2.text.wordpiece import SPECIAL_TOKENS

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = 0.3
# Name of a variant: what distinguishes it, as `train_and_score` takes it.
STUDIES = {
    "ablations": {"CMPC": {}, **{f"without {part}": {"without": (part,)} for part in ABLATIONS}},
    "masked": {"original": {}, "masked": {"recipe": "masked"}},
    "maskris": {"CMPC": {}, "CARIS": {"model": "maskris", "recipe": "caris"}, "MaskRIS": {"model": "maskris"}},
}
OCCLUDED = ("masked", "maskris")
# Word pieces of the expressions of `shapes`, for MaskRIS and CARIS.
PIECES = [*SPECIAL_TOKENS, *vocabulary()[4:]]
# About as many weights as the demo's CMPC.
MASKRIS_SIZES = {
    "image_size": SIZES["image_size"],
    "swin": {"width": 16, "depths": [1, 1, 2, 1], "heads": [1, 2, 4, 8], "window": 5},
    "bert": {"width": 64, "layers": 2, "heads": 4, "intermediate": 128, "positions": 32},
    "feature_dim": 64,
    "output_dim": 64,
    "decoder_layers": 2,
    "decoder_heads": 4,
    "head_dim": 16,
    "mlp_dim": 128,
    "groups": 8,
}
# Of the recipe's rate, Swin and BERT learn at a tenth.
MASKRIS_TRAINING = ("-bs", "8", "-lr", "0.0007")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    add_options(parser, "shapes_study")
    arguments = parser.parse_args()
    scores = run_study(STUDIES[arguments.study], arguments, occluded=arguments.study in OCCLUDED)
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
    for model in sorted({variant.get("model", "cmpc") for variant in variants.values()}):
        build_train_split(folder, model)
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


def build_train_split(folder: Path, model: str):
    """Draws `shapes` and builds its splits; then the train split that a model needs, if it is not that of CMPC."""
    if not (folder / "shapes" / "testB_batch").is_dir():
        build_data(folder)
    root = batch_root(folder, model)
    if not (root / "shapes" / "train_batch").is_dir():
        roots = ["--data-root", folder / "data", "--output-root", root, "--workers", os.cpu_count()]
        square = ["--image-size", sizes_of(model)["image_size"], "--resizing", "stretch"]
        call(ROOT / "build_batches.py", "-d", "shapes", "-t", "train", *roots, *square)


def batch_root(folder: Path, model: str) -> Path:
    """The root of the train split that a model needs."""
    return folder / "stretched" if model == "maskris" else folder


def train_and_score(folder: Path, conditions: dict, steps: int, seed: int, **variant) -> dict:
    """Overall IoU by condition and split, at the pictures' own size.

    Args:
        variant: `model`: its name. `without`: parts of CMPC left out. `recipe`: of training.
    """
    run = run_folder(folder, steps, seed, **variant)
    if not (run / "last.keras").exists():
        model, without = variant.get("model", "cmpc"), variant.get("without")
        sizes = run.with_suffix(".json")
        sizes.write_text(json.dumps({**sizes_of(model), **({"without": without} if without else {})}))
        options = ["--sizes", sizes, *model_options(folder, model)]
        options += ["--steps", steps, "--decay-steps", steps, "--checkpoint-every", 500, "--seed", seed]
        options += ["--model-name", model, "--recipe", variant.get("recipe", "original")]
        start = ["-d", "shapes", "-t", "train", "--batch-root", batch_root(folder, model), *options]
        command("train", "--output-dir", run, *(["--resume"] if (run / "config.json").exists() else start))
    scores = {}
    for condition, root in conditions.items():
        for split in SPLITS:
            report = run / f"{condition or 'plain'}_{split}.json"
            if not report.exists():
                batches = ["-d", "shapes", "-t", split, "--batch-root", root]
                command("evaluate", "--model", run / "last.keras", *batches, "--report", report)
            found = json.loads(report.read_bytes())
            counted = "own_size" if variant.get("model") == "maskris" else "plain"
            scores[condition, split] = found[counted]["overall_iou"]
    return scores


def sizes_of(model: str) -> dict:
    """The sizes of a small model: the demo's, as far as the model has them, or those of MaskRIS."""
    if model == "maskris":
        return MASKRIS_SIZES
    fields = {field.name for field in dataclasses.fields(SYSTEMS[model].config_type)}
    return {name: size for name, size in SIZES.items() if name in fields}


def model_options(folder: Path, model: str) -> list:
    """Options of `train` for a model: its vocabulary, batch size and learning rate."""
    path = folder / "data" / ("word_pieces.txt" if model == "maskris" else "vocabulary_shapes.txt")
    if model == "maskris":
        path.write_text("".join(f"{piece}\n" for piece in PIECES))
    return ["--vocabulary", path, *(MASKRIS_TRAINING if model == "maskris" else TRAINING)]


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
    one_thread = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    full = [sys.executable, "-m", "cmpc_tf2", *map(str, words)]
    result = subprocess.run(full, env={**environment(), **one_thread}, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(full)}\n{result.stderr}")


if __name__ == "__main__":
    main()
