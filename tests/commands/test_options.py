"""Numbers among the options: what they cannot be is refused before anything is loaded, by the option's name."""

import argparse

import pytest

import build_batches
from cmpc_tf2 import cli
from cmpc_video_tf2 import build_batches as video_build_batches
from cmpc_video_tf2 import cli as video_cli

TRAIN = ["train", "--output-dir", "run", "-d", "unc", "-t", "train"]
EVALUATE = ["evaluate", "--model", "m.keras", "-d", "unc", "-t", "val"]
PREDICT = ["predict", "--model", "m.keras", "--image", "i.png", "--expression", "man", "--output", "o.png"]
PREDICT_CLIP = ["predict", "--model", "m.keras", "--video", "v", "--expression", "man", "--output", "o"]
BUILD = ["-d", "unc", "-t", "train"]


@pytest.mark.parametrize(
    "main, command, option, values, expected",
    [
        (cli.main, TRAIN, "--steps", "0 -1 1.5 x 1e3 4294967296", "a whole number from 1 to 2147483647"),
        (cli.main, TRAIN, "-bs/--batch-size", "0 65537", "a whole number from 1 to 65536"),
        (cli.main, TRAIN, "-lr/--learning-rate", "0 -1 inf nan 1e300", "a number above 0, at most 1000"),
        (cli.main, TRAIN, "--epochs", "0 -1 nan inf", "a number above 0, at most 1e+06"),
        (cli.main, TRAIN, "--accumulate", "0", "a whole number from 1 to 2147483647"),
        (cli.main, TRAIN, "--decay-steps", "0", "a whole number from 1 to 2147483647"),
        (cli.main, TRAIN, "--checkpoint-every", "0", "a whole number from 1 to 2147483647"),
        (cli.main, TRAIN, "--seed", "-1 4294967296 " + 5000 * "1", "a whole number from 0 to 4294967295"),
        (video_cli.main, TRAIN, "--steps", "0", "a whole number from 1 to 2147483647"),
        (cli.main, EVALUATE, "-bs/--batch-size", "0", "a whole number from 1 to 65536"),
        (cli.main, EVALUATE, "--workers", "-1 1000000", "a whole number from 0 to 1024"),
        (cli.main, EVALUATE, "--image-size", "7", "a multiple of 8 from 8 to 4096"),
        (cli.main, PREDICT, "--image-size", "0 7 50 -8 1000000000", "a multiple of 8 from 8 to 4096"),
        (video_cli.main, PREDICT_CLIP, "--every", "0", "a whole number from 1 to 2147483647"),
        (video_cli.main, PREDICT_CLIP, "--image-size", "7", "a multiple of 8 from 8 to 4096"),
        (cli.main, ["serve", "--model", "m.keras"], "--port", "0 65536", "a whole number from 1 to 65535"),
        (video_cli.main, ["serve", "--model", "m.keras"], "--port", "0", "a whole number from 1 to 65535"),
        (cli.main, ["demo"], "--seed", "-1", "a whole number from 0 to 4294967295"),
        (video_cli.main, ["demo"], "--seed", "-1", "a whole number from 0 to 4294967295"),
        (build_batches.main, BUILD, "--workers", "0", "a whole number from 1 to 1024"),
        (build_batches.main, BUILD, "--image-size", "50", "a multiple of 8 from 8 to 4096"),
        (build_batches.main, BUILD, "--shard", "0/2 3/2 ²/2 1 a/b 1/" + 5000 * "9", "I/N with I from 1 to N"),
        (video_build_batches.main, BUILD, "--image-size", "50", "a multiple of 8 from 8 to 4096"),
    ],
)
def test_numbers_out_of_range(main, command, option, values, expected, capsys):
    for value in values.split():
        with pytest.raises(SystemExit) as exit:
            main([*command, option.split("/")[0], value])
        assert exit.value.code == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"error: argument {option}: expected {expected}" in error and ", received '" in error
        assert len(error) < 200


def test_every_number_has_a_range():
    """The types `int` and `float` accept values that no option can have."""

    def check(parser):
        for action in parser._actions:
            assert action.type not in (int, float), action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    check(command)

    for module in (cli, video_cli, build_batches):
        check(module.build_parser())
    check(video_build_batches.build_parser())
