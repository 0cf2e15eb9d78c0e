"""What the other frames of a clip are worth, on the embedded data set `moving_shapes`.

Trains the video demo's small model, and the image model of the same sizes on the annotated frames alone, with several
seeds, by the commands that a user would type. Runs that are finished in the output folder are not taken again.

    python benchmarks/moving_shapes_study.py
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measuring

from cmpc_tf2.commands.demo import call
from cmpc_tf2.data.batches import Sample, batch_path, list_batches, read_batch, write_batch
from cmpc_tf2.files import replacing, write_json
from cmpc_video_tf2.commands.demo import DATASET, SIZES, STEPS, TRAINING, build_data, scores_by_kind
from cmpc_video_tf2.data.samples import VideoSample


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("moving_shapes_study"), metavar="DIR")
    measuring.add_json_option(parser)
    arguments = parser.parse_args()
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    build_data(folder)
    alone = folder / "frame_alone"
    take_annotated_frames(folder, alone)
    write_json(folder / "sizes.json", SIZES)

    print(f"Overall IoU after {arguments.steps} steps: mean over the seeds {arguments.seeds}, and each of them\n")
    rows = {}
    for name, package, dataset, test, root in (
        ("clip", "cmpc_video_tf2", DATASET, "test", folder),
        ("annotated frame alone", "cmpc_tf2", "shapes", "val", alone),
    ):
        scores = [
            scores_by_kind(train_and_score(package, dataset, test, root, folder, arguments.steps, seed), folder)
            for seed in arguments.seeds
        ]
        rows[name] = {kind: [score[kind][1] for score in scores] for kind in scores[0]}
    kinds = list(rows["clip"])
    print(f"\n| the model sees | {' | '.join(kind.strip() for kind in kinds)} |\n|---|{'---|' * len(kinds)}")
    for name, scores in rows.items():
        cells = [
            f"{statistics.mean(scores[kind]):.3f} ({', '.join(f'{value:.3f}' for value in scores[kind])})"
            for kind in kinds
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    measuring.write_json(arguments, rows)


def take_annotated_frames(folder: Path, target: Path):
    """Writes the annotated frames of both splits as pictures, under a name that the image model's commands know."""
    for split, name in (("train", "train"), ("test", "val")):
        for index, path in enumerate(list_batches(folder, DATASET, split)):
            written = batch_path(target, "shapes", name, index)
            if not written.exists():
                written.parent.mkdir(parents=True, exist_ok=True)
                sample = read_batch(path, VideoSample)
                with replacing(written) as partial:
                    write_batch(partial, Sample(sample.token_ids, sample.image, sample.mask, sample.expression))


def train_and_score(package: str, dataset: str, test: str, root: Path, folder: Path, steps: int, seed: int) -> dict:
    """The report of the test split."""
    run = root / f"run_{steps}_seed{seed}"
    report = run / "report.json"
    if not report.exists():
        vocabulary = folder / "data" / f"vocabulary_{DATASET}.txt"
        options = ["--sizes", folder / "sizes.json", "--vocabulary", vocabulary, *TRAINING]
        options += ["--steps", steps, "--decay-steps", steps, "--checkpoint-every", steps // 10, "--seed", seed]
        start = ["-d", dataset, "-t", "train", "--batch-root", root, *options]
        resume = (run / "config.json").exists() and ["--resume"]
        call("-m", package, "train", "--output-dir", run, *(resume or start))
        scored = ["-d", dataset, "-t", test, "--batch-root", root, "--report", report]
        call("-m", package, "evaluate", "--model", run / "last.keras", *scored)
    return json.loads(report.read_bytes())


if __name__ == "__main__":
    main()
