"""`python -m cmpc_video_tf2 COMMAND` (and `cmpc-video COMMAND` once installed)."""

import argparse
from pathlib import Path

from cmpc_tf2.cli import (
    add_evaluate,
    add_export,
    add_expressions,
    add_inference_options,
    add_serving_options,
    add_train,
    dispatch,
    number,
    start_parser,
)
from cmpc_tf2.config import RANGES
from cmpc_tf2.fields import COUNT
from cmpc_video_tf2.task import VIDEOS


def build_parser() -> argparse.ArgumentParser:
    parser, commands = start_parser("cmpc-video", "Referring video segmentation with CMPC-V.")
    add_evaluate(commands, VIDEOS)
    add_train(commands, VIDEOS)

    predict = commands.add_parser("predict", help="segment a video")
    predict.set_defaults(module="cmpc_video_tf2.predict")
    predict.add_argument("--model", type=Path, required=True, metavar="FILE.keras")
    predict.add_argument(
        "--video", type=Path, required=True, metavar="FILE", help="mp4 or avi, or a folder of 00001.png, ..."
    )
    add_expressions(predict)
    predict.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder for the masks")
    predict.add_argument(
        "--every",
        type=number(COUNT),
        default=8,
        metavar="N",
        help="segment every N-th frame, from the first on (default: 8)",
    )
    add_inference_options(predict)

    add_export(commands, VIDEOS)

    serve = commands.add_parser("serve", help="a page in the browser")
    serve.set_defaults(module="cmpc_video_tf2.serve")
    add_serving_options(serve)

    demo = commands.add_parser("demo", help="train and score a small model on drawn clips, offline")
    demo.set_defaults(module="cmpc_video_tf2.demo")
    demo.add_argument("--seed", type=number(RANGES["seed"]), default=0, help="of the training run")
    demo.add_argument("--output", type=Path, default=Path("video_demo_output"), metavar="DIR")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs `python -m cmpc_video_tf2`."""
    return dispatch(build_parser(), argv)
