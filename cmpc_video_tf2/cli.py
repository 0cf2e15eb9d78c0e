"""`python -m cmpc_video_tf2 COMMAND` (and `cmpc-video COMMAND` once installed)."""

import argparse

from cmpc_tf2.cli import dispatch, start_parser
from cmpc_tf2.commands import compare, evaluate, export, train
from cmpc_video_tf2 import build_batches
from cmpc_video_tf2.commands import demo, predict, serve
from cmpc_video_tf2.medium import CLIPS


def build_parser() -> argparse.ArgumentParser:
    parser, commands = start_parser("cmpc-video", "Referring video segmentation with CMPC-V.")
    build_batches.add_parser(commands)
    evaluate.add_parser(commands, CLIPS)
    compare.add_parser(commands, CLIPS)
    train.add_parser(commands, CLIPS)
    predict.add_parser(commands)
    export.add_parser(commands, CLIPS)
    serve.add_parser(commands)
    demo.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs `python -m cmpc_video_tf2`."""
    return dispatch(build_parser(), argv)
