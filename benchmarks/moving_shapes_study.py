"""What the other frames of a clip are worth, and which backbone tells which action, on the embedded video data sets.

Trains the video demo's small model on both backbones, and the image model of the same sizes on the annotated frames
alone, with several seeds, by the commands that a user would type. Runs that are finished in the output folder are not
taken again.

    python benchmarks/moving_shapes_study.py
"""

import argparse
import itertools
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measuring
from shape_choices import chances, share_of_right_choices

from cmpc_tf2 import Predictor, load_model
from cmpc_tf2.commands.demo import call
from cmpc_tf2.data.batches import Sample, batch_path, list_batches, read_batch, write_batch
from cmpc_tf2.files import replacing, write_json
from cmpc_video_tf2.commands.demo import SIZES, STEPS, TRAINING, build_data, scores_by_kind, sizes_of
from cmpc_video_tf2.config import ANNOTATED, ANNOTATED_FEATURES
from cmpc_video_tf2.data.moving_shapes import DRAWN_CLIPS
from cmpc_video_tf2.data.samples import VideoSample
from cmpc_video_tf2.predictor import VideoPredictor

FRAME_ALONE = "annotated frame alone"
# The sizes of each model by its name.
MODELS = {
    "clip r2d": sizes_of("r2d"),
    **{f"i3d {features}": {**sizes_of("i3d"), "annotated_features": features} for features in ANNOTATED_FEATURES},
    FRAME_ALONE: SIZES,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=DRAWN_CLIPS, default=[*DRAWN_CLIPS])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("moving_shapes_study"), metavar="DIR")
    measuring.add_json_option(parser)
    arguments = parser.parse_args()
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    for dataset in arguments.datasets:
        build_data(folder, dataset)
        if FRAME_ALONE in arguments.models:
            take_annotated_frames(folder, dataset)

    scores, choices = (
        {dataset: {model: [] for model in arguments.models} for dataset in arguments.datasets} for _ in range(2)
    )
    for seed, dataset, model in itertools.product(arguments.seeds, arguments.datasets, arguments.models):
        run = folder / "runs" / f"{dataset}_{model.replace(' ', '_')}_{arguments.steps}_seed{seed}"
        report = train_and_score(folder, dataset, model, arguments.steps, seed, run)
        by_kind = scores_by_kind(report, folder, dataset)
        scores[dataset][model].append({kind: score for kind, (_, score) in by_kind.items()})
        choices[dataset][model].append(right_choices(dataset, model, run))
    print(f"\nAfter {arguments.steps} steps: mean over the seeds {arguments.seeds}, and each of them")
    for dataset in arguments.datasets:
        print(f"\n{dataset}: overall IoU\n")
        print_table(scores[dataset])
        chance = {kind: share for kind, (_, share) in chances(DRAWN_CLIPS[dataset]).items()}
        print(f"\n{dataset}: share of sentences for which the model chooses the right shape\n")
        print_table({"nothing: chance": [chance], **choices[dataset]})
    measuring.write_json(arguments, {"overall_iou": scores, "choices": choices})


def print_table(by_model: dict[str, list[dict[str, float]]]):
    """Prints a table of models by kinds of sentences.

    Args:
        by_model: For each model, the scores by kind of each seed.
    """
    kinds = list(next(iter(by_model.values()))[0])
    print(f"| the model sees | {' | '.join(kind.strip() for kind in kinds)} |\n|---|{'---|' * len(kinds)}")
    for model, scores in by_model.items():
        columns = {kind: [score[kind] for score in scores] for kind in kinds}
        cells = [
            f"{statistics.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"
            for values in columns.values()
        ]
        print(f"| {model} | {' | '.join(cells)} |")


def alone(folder: Path, dataset: str) -> Path:
    """Where the annotated frames of a data set are pictures."""
    return folder / f"{dataset}_frame_alone"


def take_annotated_frames(folder: Path, dataset: str):
    """Writes the annotated frames of both splits as pictures, under a name that the image model's commands know."""
    for split, name in (("train", "train"), ("test", "val")):
        for index, path in enumerate(list_batches(folder, dataset, split)):
            written = batch_path(alone(folder, dataset), "shapes", name, index)
            if not written.exists():
                written.parent.mkdir(parents=True, exist_ok=True)
                sample = read_batch(path, VideoSample)
                with replacing(written) as partial:
                    write_batch(partial, Sample(sample.token_ids, sample.image, sample.mask, sample.expression))


def right_choices(dataset: str, model: str, run: Path) -> dict[str, float]:
    """The share of sentences for which a trained model chooses the right shape, by kind."""
    path = run / "choices.json"
    if not path.exists():
        trained = load_model(run / "last.keras")
        predictor = Predictor(trained) if model == FRAME_ALONE else VideoPredictor(trained)

        def show(frames):
            predictor.set_image(frames[ANNOTATED]) if model == FRAME_ALONE else predictor.set_clip(frames)

        def predict(sentence):
            return predictor.predict(sentence).probabilities

        write_json(path, share_of_right_choices(DRAWN_CLIPS[dataset], show, predict))
    return json.loads(path.read_bytes())


def train_and_score(folder: Path, dataset: str, model: str, steps: int, seed: int, run: Path) -> dict:
    """The report of the test split."""
    report = run / "report.json"
    if report.exists():
        return json.loads(report.read_bytes())
    package, root, name, test = "cmpc_video_tf2", folder, dataset, "test"
    if model == FRAME_ALONE:
        package, root, name, test = "cmpc_tf2", alone(folder, dataset), "shapes", "val"
    sizes = folder / f"{model.replace(' ', '_')}.json"
    write_json(sizes, MODELS[model])
    options = ["--sizes", sizes, "--vocabulary", folder / "data" / f"vocabulary_{dataset}.txt", *TRAINING]
    options += ["--steps", steps, "--decay-steps", steps, "--checkpoint-every", steps // 10, "--seed", seed]
    start = ["-d", name, "-t", "train", "--batch-root", root, *options]
    resume = (run / "config.json").exists() and ["--resume"]
    call("-m", package, "train", "--output-dir", run, *(resume or start))
    scored = ["-d", name, "-t", test, "--batch-root", root, "--report", report]
    call("-m", package, "evaluate", "--model", run / "last.keras", *scored)
    return json.loads(report.read_bytes())


if __name__ == "__main__":
    main()
