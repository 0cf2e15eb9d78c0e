"""What all commands have in common: their options, their output, and their completion in a shell."""

import argparse
import logging
import os
import subprocess
import sys

import pytest

import build_batches
import build_embeddings
import convert_tf1_ckpt
import convert_torch_ckpt
import fetch_assets
from cmpc_tf2 import cli
from cmpc_tf2.cli import run_command
from cmpc_tf2.commands import demo
from cmpc_tf2.files import progress
from cmpc_video_tf2 import build_batches as video_build_batches
from cmpc_video_tf2 import cli as video_cli
from conftest import ROOT

LOUD, QUIET = (argparse.Namespace(quiet=quiet) for quiet in (False, True))
SCRIPTS = (build_batches, build_embeddings, convert_tf1_ckpt, convert_torch_ckpt, fetch_assets, video_build_batches)


def commands_of(parser) -> dict[str, argparse.ArgumentParser]:
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


def options_of(parser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def test_every_command_can_be_quiet():
    parsers = [module.build_parser() for module in SCRIPTS]
    parsers += [*commands_of(cli.build_parser()).values(), *commands_of(video_cli.build_parser()).values()]
    for parser in parsers:
        assert "--quiet" in options_of(parser), parser.prog


def test_results_for_programs():
    for module, names in ((cli, {"evaluate", "compare", "export", "convert"}), (video_cli, {"evaluate", "compare"})):
        found = commands_of(module.build_parser())
        assert all("--json" in options_of(found[name]) for name in names)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet_leaves_warnings(is_terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)

    def command(_):
        logger = logging.getLogger("cmpc_tf2.files")
        logger.info("a note")
        logger.warning("a warning")
        print(*progress(iter("ab"), 2, "letters"))

    assert run_command(command, QUIET) == 0
    assert capsys.readouterr() == ("a b\n", "a warning\n")
    assert run_command(command, LOUD) == 0
    error = capsys.readouterr().err
    assert "a note" in error and "letters" in error


def test_the_script_and_the_command_build_the_same(tmp_path, capsys):
    """A split that is not built: both say so, in the same words."""
    arguments = ["-d", "shapes", "-t", "val", "--check", "--output-root", str(tmp_path)]
    errors = []
    for main, command in ((build_batches.main, []), (cli.main, ["build_batches"])):
        assert main([*command, *arguments]) == 1
        errors.append(capsys.readouterr().err)
    assert errors[0] == errors[1]
    assert "the split was not built by this command" in errors[0]
    for main, command in ((video_build_batches.main, []), (video_cli.main, ["build_batches"])):
        assert main([*command, "-d", "a2d", "-t", "test", "--check", "--output-root", str(tmp_path)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == second


def test_the_log_level_of_tensorflow_can_be_chosen(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    for chosen, expected in ((None, "3"), ("0", "0")):
        if chosen:
            monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", chosen)
        assert run_command(lambda _: None, LOUD) == 0
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == expected


@pytest.mark.parametrize("is_quiet", [False, True])
def test_commands_of_a_demo(is_quiet, tmp_path, monkeypatch, capfd):
    """They find the package, and what the user's PYTHONPATH holds."""
    (tmp_path / "of_the_user.py").write_text("import sys, cmpc_tf2; print(cmpc_tf2.__file__, sys.argv[1:])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run_command(lambda _: demo.call("-m", "of_the_user", "word"), QUIET if is_quiet else LOUD) == 0
    shown = [] if is_quiet else ["$ python -m of_the_user word"]
    words = ["word", "--quiet"] if is_quiet else ["word"]
    assert capfd.readouterr().out.splitlines() == [*shown, f"{ROOT / 'cmpc_tf2' / '__init__.py'} {words}"]


@pytest.mark.parametrize(
    "module, line, expected, absent",
    [
        ("cmpc_tf2", "cmpc ", {"build_batches", "train", "evaluate", "predict", "convert"}, set()),
        ("cmpc_tf2", "cmpc predict --", {"--model", "--image", "--expression", "--quiet"}, {"--steps"}),
        ("cmpc_tf2", "cmpc export --format ", {"saved_model", "onnx", "tflite"}, {"LICENSE"}),
        ("cmpc_tf2", "cmpc predict --model ", {"LICENSE", "docs/"}, {"--image"}),
        ("cmpc_video_tf2", "cmpc-video ", {"build_batches", "train", "predict"}, {"convert"}),
        ("cmpc_video_tf2", "cmpc-video predict --", {"--video", "--every"}, {"--image"}),
    ],
)
def test_completion(module, line, expected, absent, tmp_path):
    """What a shell is told when the user presses Tab at the end of a line."""
    pytest.importorskip("argcomplete")
    answer = tmp_path / "answer"
    of_the_shell = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    environment = {**os.environ, **of_the_shell, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    subprocess.run([sys.executable, "-m", module], cwd=ROOT, env=environment, check=True)
    found = {word.strip() for word in answer.read_text().splitlines()}
    assert expected <= found and not absent & found
