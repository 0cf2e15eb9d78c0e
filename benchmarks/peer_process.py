"""What both sides of `peers.py` share: their options, their inputs, and the answers to the process that measures them.

A side is a process of its own. It reads a request from each line of its standard input and answers with JSON. The sides
under PyTorch import this module too, so it needs no more than NumPy.
"""

import argparse
import dataclasses
import importlib.machinery
import importlib.util
import json
import sys
import time
from collections.abc import Callable

import numpy as np
from measuring import peak_megabytes

# The box of every sentence of a training step that needs boxes: x1, y1, x2, y2 in pixels.
BOX = (40.0, 60.0, 180.0, 200.0)
# Boxes of a picture, referred ones among them and sentences of each, in a training step of MAttNet.
BOXES, REFERRED, SENTENCES = 10, 3, 3
# Mean and standard deviation of ImageNet, in the order red, green, blue.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Inputs of a system: rows and columns of pictures, slots of words, those that are used, and the token ids."""

    picture: tuple[int, int]
    slots: int
    words: slice
    token_ids: tuple[int, int]


INPUTS = {
    "cmpc": Inputs((320, 320), 20, slice(12, 20), (4, 12112)),
    "maskris": Inputs((448, 448), 20, slice(20), (1000, 30522)),
    "sl_att": Inputs((256, 256), 20, slice(20), (1, 12099)),
    "mattnet": Inputs((480, 640), 10, slice(5), (1, 1999)),
}


def parse_side(description: str) -> argparse.Namespace:
    """The options of a side, which `peers.py` gives it. What the side prints then goes to the standard error."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("system", choices=INPUTS)
    parser.add_argument("weights", help="file with the weights; with --save, the file to write")
    parser.add_argument("pictures", type=int)
    parser.add_argument("sentences", type=int)
    parser.add_argument("--clones", help="folder with clones of the originals")
    parser.add_argument("--precision", default="float32", help="type that our side computes in")
    parser.add_argument("--training", action="store_true", help="a training step")
    parser.add_argument("--save", action="store_true", help="write random weights, and stop")
    options = parser.parse_args()
    sys.stdout = sys.stderr  # Some originals print; the standard output is for answers.
    return options


def make_inputs(system: str, pictures: int, sentences: int) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs, always the same.

    Args:
        system: A key of `INPUTS`.
        pictures: B.
        sentences: N.

    Returns:
        uint8 RGB pictures `(B, H, W, 3)` and token ids `(N, T)`, int32.
    """
    rng, inputs = np.random.default_rng(0), INPUTS[system]
    pixels = rng.integers(0, 256, (pictures, *inputs.picture, 3), dtype=np.uint8)
    token_ids = np.zeros((sentences, inputs.slots), np.int32)
    used = token_ids[:, inputs.words]
    used[:] = rng.integers(*inputs.token_ids, size=used.shape)
    return pixels, token_ids


def make_pairs(pictures: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Random inputs of a training step of MAttNet's matching network, always the same.

    Each picture has 9 pairs that fit, N in all; with other boxes and other sentences there are 3 N pairs.

    Args:
        pictures: Pictures.

    Returns:
        The features of the U boxes that are drawn by name, `(U, ...)` float32; which of them the pairs have, int32
        `(3 N,)`; the attributes of the boxes of the first N pairs, `(N, 50)` float32 of 0 and 1; and the weights of
        the attributes, `(50,)`.
    """
    rng = np.random.default_rng(0)
    fitting = np.repeat(np.arange(REFERRED), SENTENCES)
    others = (fitting + rng.integers(1, BOXES, (pictures, len(fitting)))) % BOXES
    first = BOXES * np.arange(pictures)[:, None]
    pairs = [(first + boxes).ravel() for boxes in (fitting, others, fitting)]
    boxes, rows = np.unique(np.concatenate(pairs), return_inverse=True)
    shapes = {
        "pool5": (49, 1024),
        "fc7": (49, 2048),
        "lfeats": (5,),
        "dif_lfeats": (25,),
        "cxt_fc7": (5, 2048),
        "cxt_lfeats": (5, 5),
    }
    features = {name: rng.random((len(boxes), *shape), np.float32) for name, shape in shapes.items()}
    attributes = (rng.random((len(rows) // 3, 50)) < 0.1).astype(np.float32)
    attributes[:, 0] = 1
    return features, rows.astype(np.int32), attributes, np.linspace(1, 10, 50, dtype=np.float32)


def normalize(pixels: np.ndarray) -> np.ndarray:
    """Pixels as MaskRIS and SL-Att. take them."""
    mean, deviation = (np.float32(values) for values in IMAGENET)
    return (pixels / np.float32(255) - mean) / deviation


def provide(module: str, **names):
    """Makes `import module` and `from module import name` work, for requirements that are not installed."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        spec = importlib.machinery.ModuleSpec(".".join(parts[:count]), None)
        sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    vars(sys.modules[module]).update(names)


def answer(step: Callable[[], object], **requests: Callable[[str], object]):
    """Answers the lines of the standard input.

    Args:
        step: What an empty line asks for. The answer tells the seconds of the call, those of the processor, and those
            of the processor and the peak memory of the process so far.
        requests: What other lines ask for, by their first word, given the rest; they return the answer.
    """
    for line in sys.stdin:
        name, _, argument = line.strip().partition(" ")
        found = requests[name](argument) if name else _time(step)
        print(json.dumps(found), file=sys.__stdout__, flush=True)


def _time(step: Callable[[], object]) -> dict[str, float]:
    start, cpu_start = time.perf_counter(), time.process_time()
    step()
    cpu_end = time.process_time()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": cpu_end - cpu_start,
        "process_cpu_seconds": cpu_end,
        "peak_mb": peak_megabytes(),
    }
