"""The examples of the documentation: where they are, and how they run in the process of a test."""

import argparse
import contextlib
import dataclasses
import itertools
import os
import re
import runpy
import shlex
import socket
import sys
import warnings
from pathlib import Path
from unittest import mock

import httpx

from conftest import ROOT
from http_client import ask
from reuse import loading_once

PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# What starts a command of this project, also in a sentence.
_PROGRAM = r"python |cmpc |cmpc-video |cogrounding |make |(?:build_batches\.py|(?:tools|benchmarks)/\w+\.py) "
_MODULES = {"cmpc": "cmpc_tf2", "cmpc-video": "cmpc_video_tf2", "cogrounding": "cogrounding_tf2"}


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code. Without a language, it is for the shell."""

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, without comments and without what their output is piped to."""
        lines = [] if self.language else self.text.replace("\\\n", " ").splitlines()
        return [re.sub(r"\s+", " ", re.sub(r" # .*| \|( .*)?$", "", line)).strip() for line in lines]


def blocks_of(page: str) -> list[Block]:
    """The blocks of code on a page."""
    text = (ROOT / page).read_text()
    return [
        Block(page, text[: found.start()].count("\n") + 1, found[2], found[3].replace(f"\n{found[1]}", "\n"))
        for found in _FENCE.finditer(text)
    ]


def commands_in_text(page: str) -> list[str]:
    """Commands in the sentences of a page."""
    text = _FENCE.sub("", (ROOT / page).read_text())
    return [found.replace("\n", " ") for found in re.findall(rf"`((?:{_PROGRAM})[^`]+)`", text)]


def is_ours(command: str) -> bool:
    return re.match(_PROGRAM, command) is not None


class _Parsed(BaseException):
    pass


def parse(command: str, whole: bool) -> int:
    """Parses a command by the parser of its program, which it does not run.

    Args:
        command: The command.
        whole: Whether all required arguments have to be there.

    Returns:
        The exit status: 0 if the command has no error.
    """
    real = argparse.ArgumentParser.parse_args

    def adapt(parser):
        parser.allow_abbrev = False
        for part in () if whole else (*parser._actions, *parser._mutually_exclusive_groups):
            part.required = False
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for child in action.choices.values():
                    adapt(child)

    def parse_args(parser, *arguments):
        adapt(parser)
        real(parser, *arguments)
        raise _Parsed

    words = shlex.split(command.partition("...")[0])
    with mock.patch("argparse.ArgumentParser.parse_args", parse_args), contextlib.suppress(_Parsed):
        return _call(words)
    return 0


def _call(words: list[str]) -> int:
    """Runs `python WORDS`, or a program of this project, in this process; returns the exit status."""
    if words[0] in _MODULES:
        words = ["-m", _MODULES[words[0]], *words[1:]]
    elif words[0] == "python":
        words = words[1:]
    is_module = words[0] == "-m"
    path = list(sys.path) if is_module else [str((ROOT / words[0]).parent), *sys.path]
    with (
        mock.patch.object(sys, "argv", words[is_module:]),
        mock.patch.object(sys, "path", path),
        mock.patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".* found in sys.modules after import", category=RuntimeWarning)
        try:
            if is_module:
                runpy.run_module(words[1], run_name="__main__")
            else:
                runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        except SystemExit as end:
            return end.code or 0
    return 0


class Shell:
    """Runs commands in the current folder: on small models, for one step, and servers without a network.

    Sizes of new models are in `sizes/<name>.json`. What `curl` prints goes to `answer.json`.
    """

    def __init__(self):
        self._app = None

    def run(self, command: str):
        words = shlex.split(command)
        if words[0] == "curl":
            self._request(words[1:])
            return
        loading = contextlib.nullcontext() if "train" in words else loading_once()
        with mock.patch("uvicorn.run", self._serve), loading:
            assert _call([*words, *self._smaller(words)]) == 0, command

    def _serve(self, app, **_):
        self._app = app

    def _request(self, words: list[str]):
        fields = [word.split("=", 1) for flag, word in itertools.pairwise(words) if flag == "-F"]
        texts = [value for name, value in fields if name == "expressions"]
        (picture,) = [Path(value.removeprefix("@")).read_bytes() for name, value in fields if name == "image"]
        assert words[-1].endswith("/v1/segment") and len(fields) == len(texts) + 1
        (answer,) = ask(self._app, {"files": {"image": ("photo.jpg", picture)}, "data": {"expressions": texts}})
        assert answer.status_code == 200, answer.text
        Path("answer.json").write_text(answer.text)

    def post(self, address: str, **request) -> httpx.Response:
        """In place of `httpx.post`."""
        assert address.endswith("/v1/segment")
        (answer,) = ask(self._app, request)
        return answer

    @staticmethod
    def _smaller(words: list[str]) -> list[str]:
        """Options that make a command fit small files; of two equal options, the last one counts."""
        if any("build_batches" in word for word in words):
            is_resized = "train" in words and "cogrounding_tf2" not in words and "--objects" not in words
            return ["--workers", "1", *(["--image-size", "32"] if is_resized else [])]
        if "serve" in words:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return ["--port", str(probe.getsockname()[1])]
        if "train" not in words or "--resume" in words:
            return []
        name = "cmpc_video" if "cmpc_video_tf2" in words else "cmpc"
        if "--backbone-type" in words:
            name = words[words.index("--backbone-type") + 1]
        if "--model-name" in words:
            name = words[words.index("--model-name") + 1]
        new = [] if "--model" in words else ["--sizes", f"sizes/{name}.json"]
        steps = ["--steps", "350001" if "--optimizer" in words else "1"]  # The checkpoint is of step 350,000.
        length = ["--epochs", "0.1"] if "--epochs" in words else steps
        return ["-bs", "2", *new, *length]


def run_block(block: Block, variables: dict):
    """Runs the Python code of a block."""
    with loading_once():
        exec(compile(block.text, f"{block.page}, line {block.line}", "exec"), variables)


def keys_of(text: str) -> set[str]:
    """The keys in JSON, also where `...` stands for parts of it."""
    return set(re.findall(r'"([a-z_]+)":', text))
