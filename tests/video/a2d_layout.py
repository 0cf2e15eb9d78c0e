"""A small data set in A2D's layout, drawn by the tests."""

import csv
from pathlib import Path

import h5py
import numpy as np

from cmpc_tf2.data.image_files import write_image
from cmpc_video_tf2.data.datasets import A2DFiles

WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "the", "man", "cat", "jumping", "climbing"]
HEIGHT, WIDTH = 24, 40


def write_h5(path: Path, **arrays) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
    return path


def make_a2d(root: Path, videos: dict[str, int], queries: list[tuple], annotated=(1, 5)) -> list[str]:
    """Writes frames, masks, splits and sentences; returns the arguments that point the builder there.

    Two instances in every annotated frame: 0 the left half, 1 the lower right corner.

    Args:
        root: The data root.
        videos: Number of frames for each video; a name with `test` goes to the test split.
        queries: Lines of the annotations.
        annotated: Numbers of the annotated frames.
    """
    files = A2DFiles.below(root / "a2d_sentences")
    masks = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    masks[0, :, : WIDTH // 2] = 1
    masks[1, HEIGHT // 2 :, WIDTH // 2 :] = 1
    for video, count in videos.items():
        folder = files.frames[0] / video
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            write_image(folder / f"{number:05d}.png", np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8))
        (files.masks / video).mkdir(parents=True)
        for number in annotated:
            write_h5(files.masks / video / f"{number:05d}.h5", instance=[0, 1], reMask=masks.transpose(0, 2, 1))
    with files.splits.open("w", newline="") as file:
        csv.writer(file).writerows([(video, 0, int("test" in video)) for video in videos])
    with files.queries.open("w", newline="") as file:
        csv.writer(file).writerows([("video_id", "instance_id", "query"), *queries])
    (root / "words.txt").write_text("\n".join(WORDS) + "\n")
    return ["--data-root", str(root), "--vocabulary", str(root / "words.txt"), "--output-root", str(root)]
