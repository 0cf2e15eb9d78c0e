"""The savings of inference: the cost of an expression with all of them, and with one of them switched off.

Full size, random weights, float32; an expression alone, and as one of seven about a picture. Both are measured in turns
in one process. `peers.py` has the cost of the original's graph; its row of seven shows what encoding once saves.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import add_json_option, interleave, run_alone, write_json

EXPRESSIONS = 7


def savings() -> dict:
    """How to switch off each saving, by name: an attribute, and its replacement."""
    from cmpc_tf2.backbones import deeplab_resnet
    from cmpc_tf2.inference import runner
    from cmpc_tf2.models import deeplab_model
    from cmpc_tf2.models.cmpc.model import CMPC

    return {
        "batch norms folded into their convolutions, and phases": (
            deeplab_model.DeepLabModel,
            "inference_encoder",
            lambda model: model.image_encoder,
        ),
        "lateral of c3 folded into MUTAN": (
            CMPC,
            "inference_projection",
            deeplab_model.DeepLabModel.inference_projection,
        ),
        "dilated stages on phases": (
            deeplab_resnet.DeepLabResNet,
            "inference_form",
            lambda net, _: deeplab_resnet.fold_batch_norm(net),
        ),
        "elementwise chains in one pass": (runner, "fusing", contextlib.nullcontext),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    add_json_option(parser)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.alone, arguments.repeats)))
        return
    results = {}
    print(f"{'':56}{'alone':>22}{'of seven':>22}\n{'cost without, with: times':56}")
    for name in savings():
        row = run_alone(__file__, name, "--repeats", arguments.repeats)
        results[name] = {"with": row[:2], "without": row[2:]}
        cells = [
            f"{b['cost'] / n:8.0f}{a['cost'] / n:6.0f}:{b['seconds'] / a['seconds']:7.3f}"
            for n, a, b in zip((1, EXPRESSIONS), row[:2], row[2:], strict=True)
        ]
        print(f"{name:56}{''.join(cells)}", flush=True)
    write_json(arguments, results)


def measure(missing: str, repeats: int) -> list[dict]:
    """Figures of an expression, and of seven, with the saving; and the same without it, in turns."""
    import keras
    import numpy as np

    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.models.cmpc.config import CMPCConfig
    from cmpc_tf2.models.cmpc.model import CMPC

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, 320, 320, 3), dtype=np.uint8)
    token_ids = np.zeros((EXPRESSIONS, 20), np.int32)
    token_ids[:, 12:] = rng.integers(4, 12112, size=(EXPRESSIONS, 8))

    def steps():
        model = ModelRunner(CMPC(CMPCConfig(), name="cmpc"))
        both = [lambda n=n: model.decode(model.encode(pixels), {"token_ids": token_ids[:n]}) for n in (1, EXPRESSIONS)]
        for step in both:  # The graph is made now.
            step()
        return both

    complete = steps()
    with mock.patch.object(*savings()[missing]):
        return interleave([*complete, *steps()], repeats)


if __name__ == "__main__":
    main()
