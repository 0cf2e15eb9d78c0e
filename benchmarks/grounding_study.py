"""What the other frames of a clip are worth for boxes: CG-SL-Att. on clips against SL-Att. on their frames alone.

Both are the demo's small model, trained on the same frames with the same boxes for equally many steps, each with as
many frames, by the commands that a user would type, and scored on the annotated frames of the test split. Runs that are
finished in the output folder are not repeated.

    python benchmarks/grounding_study.py
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measuring
import numpy as np

from cmpc_tf2.commands.demo import build_splits, call
from cmpc_tf2.data.batches import batch_path, list_batches, read_batch, write_batch
from cmpc_tf2.files import replacing, write_json
from cogrounding_tf2.commands.demo import BATCH_SIZES, SIZES, STEPS, TRAINING
from cogrounding_tf2.data.samples import BoxClipSample, BoxSample

CLIPS, FRAMES = "moving_shapes", "shapes"  # The second is the name under which frames are pictures.
SYSTEMS = {CLIPS: "cg_sl_att", FRAMES: "sl_att"}
TEST_SPLITS = {CLIPS: "test", FRAMES: "val"}
SCORES = ("plain", "exact", "postprocessed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS[CLIPS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--output", type=Path, default=Path("grounding_study"), metavar="DIR")
    measuring.add_json_option(parser)
    arguments = parser.parse_args()
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "sizes.json", SIZES)
    build_splits("cogrounding_tf2", folder, CLIPS, ("train", "test"))
    take_frames(folder, "train", "train")
    take_frames(folder, "test", "val")

    reports = {data: [] for data in SYSTEMS}
    for seed in arguments.seeds:
        for data in SYSTEMS:
            reports[data].append(train_and_score(folder, data, arguments.steps, seed))
    print(f"\nAccuracy after {arguments.steps} steps: mean over the seeds {arguments.seeds}, and each of them\n")
    print(f"| model | {' | '.join(SCORES)} |\n|---|{'---|' * len(SCORES)}")
    for data, found in reports.items():
        cells = [cell([report[name]["accuracy"] for report in found if report.get(name)]) for name in SCORES]
        print(f"| {SYSTEMS[data]} | {' | '.join(cells)} |")
    measuring.write_json(arguments, {SYSTEMS[data]: found for data, found in reports.items()})


def cell(values: list[float]) -> str:
    """The mean of values, and each of them."""
    return f"{statistics.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})" if values else "-"


def take_frames(folder: Path, split: str, name: str):
    """Writes the frames of a split of clips as pictures: all of a train split, the annotated ones of a test split."""
    if list((folder / FRAMES / f"{name}_batch").glob("*.npz")):
        return
    index = 0
    for path in list_batches(folder, CLIPS, split):
        sample = read_batch(path, BoxClipSample)
        files = np.split(sample.file, np.cumsum(sample.lengths)[:-1])
        frames = range(len(files)) if split == "train" else [sample.annotated]
        for frame in frames:
            picture = BoxSample(sample.token_ids, files[frame], sample.boxes[frame], sample.expression)
            written = batch_path(folder, FRAMES, name, index)
            written.parent.mkdir(parents=True, exist_ok=True)
            with replacing(written) as partial:
                write_batch(partial, picture)
            index += 1


def train_and_score(folder: Path, data: str, steps: int, seed: int) -> dict:
    """The report of the test split."""
    run = folder / "runs" / f"{SYSTEMS[data]}_{steps}_seed{seed}"
    report = run / "report.json"
    if not report.exists():
        options = ["--sizes", folder / "sizes.json", "--vocabulary", folder / "data" / f"vocabulary_{CLIPS}.txt"]
        options += [*TRAINING, "-bs", BATCH_SIZES[data], "--model-name", SYSTEMS[data], "--seed", seed]
        options += ["--steps", steps, "--decay-steps", steps, "--checkpoint-every", steps // 10]
        start = ["-d", data, "-t", "train", "--batch-root", folder, *options]
        resume = (run / "config.json").exists() and ["--resume"]
        call("-m", "cogrounding_tf2", "train", "--output-dir", run, *(resume or start))
        scored = ["-d", data, "-t", TEST_SPLITS[data], "--batch-root", folder, "--report", report]
        call("-m", "cogrounding_tf2", "evaluate", "--model", run / "last.keras", *scored)
    return json.loads(report.read_bytes())


if __name__ == "__main__":
    main()
