"""Full-size inference of CMPC: one expression, seven of one picture, batches, clips; in bfloat16, by XLA.

Each row runs in a process of its own, so that its peak memory is its own. `peers.py` compares with the original.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import add_json_option, interleave, run_alone, write_json

ROWS = {
    "1 expression": ("ours", 1, 1),
    "7 expressions of 1 picture": ("ours", 1, 7),
    "4 pictures, 1 expression each": ("ours", 4, 4),
    "16 pictures, 1 expression each": ("ours", 16, 16),
    "1 clip, R2D, 1 expression": ("r2d", 1, 1),
    "1 clip, R2D, 5 expressions": ("r2d", 1, 5),
    "1 clip, R2D, its encoder alone": ("r2d", 1, 0),
    "1 clip, I3D, 1 expression": ("i3d", 1, 1),
    "1 clip, I3D, 5 expressions": ("i3d", 1, 5),
    "1 clip, I3D, its encoder alone": ("i3d", 1, 0),
}
CLIPS = ("r2d", "i3d")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--jit-compile", action="store_true", help="compile with XLA")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    add_json_option(parser)
    parser.add_argument("--alone", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure_row(*ROWS[arguments.alone], arguments)))
        return
    results = {}
    print(f"{arguments.precision}{', XLA' if arguments.jit_compile else ''}; per expression:")
    print(f"{'':32}{'s':>8}{'cost':>8}{'peak MB':>9}{'GFLOP/s':>9}")
    for name in arguments.rows:
        options = [name, "--precision", arguments.precision, "--repeats", arguments.repeats]
        results[name] = row = run_alone(__file__, *options, *["--jit-compile"] * arguments.jit_compile)
        print(f"{name:32}{row['seconds']:8.3f}{row['cost']:8.0f}{row['peak_mb']:9.0f}{row['gflops']:9.0f}", flush=True)
    write_json(arguments, results)


def measure_row(kind: str, pictures: int, expressions: int, arguments: argparse.Namespace) -> dict:
    """Figures of one row, per expression."""
    import keras
    import numpy as np

    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.models.cmpc.model import CMPC
    from cmpc_tf2.precision import computing_in
    from cmpc_video_tf2.models.cmpc_video import CMPCVideo

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    frames = (16,) if kind in CLIPS else ()
    pixels = rng.integers(0, 256, (pictures, *frames, 320, 320, 3), dtype=np.uint8)
    token_ids = np.zeros((expressions, 20), np.int32)
    token_ids[:, 12:] = rng.integers(4, 12112, size=(expressions, 8))
    with computing_in(arguments.precision, weights=arguments.precision):
        model = CMPCVideo({"backbone_type": kind}, name="cmpc_video") if kind in CLIPS else CMPC(name="cmpc")
        model = ModelRunner(model, jit_compile=arguments.jit_compile)

    def run_ours():
        features = model.encode(pixels)
        if expressions:
            model.decode(features, {"token_ids": token_ids})
        else:
            next(iter(features.values())).numpy()  # Not before its work is done.

    (figures,) = interleave([run_ours], arguments.repeats)
    return {**figures, **{name: figures[name] / max(1, expressions) for name in ("seconds", "cost")}}


if __name__ == "__main__":
    main()
