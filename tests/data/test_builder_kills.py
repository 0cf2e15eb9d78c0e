"""Commands of the builder, killed at each of their file operations: no data is lost, and no incomplete split counts."""

import itertools
import os
import shutil
from pathlib import Path

import pytest

import build_batches
from cmpc_tf2.data.batches import split_folder
from killing import killed_at
from refer_layout import make_refer

REFERENCES = [
    {"ref_id": 1, "split": "train", "sentences": ["red man", "", "left"]},
    {"ref_id": 2, "split": "train", "sentences": [""]},
    {"ref_id": 3, "split": "train", "sentences": ["man", "left"]},
]
BUILD, FIRST, SECOND, MERGE = ["--skip-errors"], ["--shard", "1/2"], ["--shard", "2/2"], ["--merge"]
ANEW = ["--overwrite"]
COMMANDS = [[*command, *anew] for command in (BUILD, FIRST, SECOND, MERGE) for anew in ([], ANEW)]


class Builder:
    """Runs commands on copies of folders, each time as another process."""

    def __init__(self, scratch: Path, monkeypatch):
        self.scratch = scratch
        *self.arguments, _ = make_refer(scratch / "source", REFERENCES)
        self.numbers = itertools.count(1)
        monkeypatch.setattr(os, "getpid", lambda: self.pid)
        self.states = {
            "nothing": self.state(),
            "older": self.state(["--compress"]),
            "shards": self.state(FIRST, SECOND),
            "older and shards": self.state(["--compress"], [*FIRST, *ANEW], [*SECOND, *ANEW]),
        }
        shutil.copytree(self.unfinished(), self.states["shards"], dirs_exist_ok=True)
        self.older, self.whole = tree(split(self.states["older"])), tree(split(self.state(BUILD)))

    def state(self, *commands: list[str]) -> Path:
        root = self.folder()
        for command in commands:
            assert self.run(root, command) == 0
        return root

    def unfinished(self) -> Path:
        """A folder with a build that was killed after its first file."""
        for operation in itertools.count():
            root = self.folder()
            with killed_at(root, operation):
                self.run(root, BUILD)
            if list(root.glob("unc/.train_batch.part-1-of-1/*.npz")):
                return root

    def folder(self) -> Path:
        folder = self.scratch / str(next(self.numbers))
        folder.mkdir()
        return folder

    def copy(self, state: Path) -> Path:
        folder = self.scratch / str(next(self.numbers))
        shutil.copytree(state, folder)
        return folder

    def run(self, root: Path, command: list[str]) -> int:
        self.pid = next(self.numbers)
        common = ["-d", "unc", "-t", "train", "--image-size", "16", "--skip-errors"]
        return build_batches.main([*common, *self.arguments, str(root), *command])

    def killed(self, state: Path, command: list[str]):
        """Yields copies of a folder in which the command was killed, one for each of its file operations."""
        with killed_at(root := self.copy(state), None) as undisturbed:
            self.run(root, command)
        for operation in range(undisturbed.count):
            root = self.copy(state)
            with killed_at(root, operation) as kill:
                self.run(root, command)
            assert kill.count == operation
            yield root

    def require_valid(self, root: Path, had_older: bool):
        """A published split is complete; and if there was an older one, either that or the new one exists."""
        target = split(root)
        if self.run(root, ["--check"]) == 0:
            assert {name: content for name, content in tree(target).items() if name != "progress.jsonl"} in (
                self.older,
                self.whole,
            )
        elif had_older:
            assert not target.exists()
            assert tree(target.with_name(".train_batch.outdated")) == self.older


def split(root: Path) -> Path:
    return split_folder(root, "unc", "train")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def builder(tmp_path, monkeypatch) -> Builder:
    return Builder(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "state, command",
    [
        ("older", [*BUILD, *ANEW]),
        ("older and shards", [*MERGE, *ANEW]),
        ("shards", [*FIRST, *ANEW]),
        pytest.param("nothing", BUILD, marks=pytest.mark.slow),
        pytest.param("nothing", FIRST, marks=pytest.mark.slow),
        pytest.param("shards", BUILD, marks=pytest.mark.slow),
        pytest.param("shards", MERGE, marks=pytest.mark.slow),
    ],
)
def test_repeating_a_killed_command_gives_the_same_bytes(state, command, builder):
    expected = builder.copy(builder.states[state])
    assert builder.run(expected, command) == 0
    operations = 0
    for operations, root in enumerate(builder.killed(builder.states[state], command), start=1):
        builder.require_valid(root, "older" in state)
        is_done = tree(split(root)) == tree(split(expected)) and command[0] != FIRST[0]
        assert builder.run(root, command) == 0 or is_done
        assert tree(root) == tree(expected), operations
    assert operations > 10


def test_an_older_split_is_restored_completely_or_not_at_all(builder):
    """Even if the new split is deleted by hand, after a kill while the older one was being removed."""
    for root in builder.killed(builder.states["older"], [*BUILD, *ANEW]):
        if split(root).exists() and "unc_train_0.npz" in tree(split(root)):
            shutil.rmtree(split(root))
            assert builder.run(root, BUILD) == 0 or tree(split(root)) == builder.older


@pytest.mark.slow
@pytest.mark.parametrize("state", ["nothing", "older", "shards", "older and shards"])
def test_any_command_after_any_kill(state, builder, capsys):
    """No data is lost, no incomplete split counts, and after an interrupted merge is completed a new build works."""
    seen = []
    for killed in COMMANDS:
        for root in builder.killed(builder.states[state], killed):
            if (content := tree(root)) in seen:
                continue
            seen.append(content)
            for command in COMMANDS:
                copy = builder.copy(root)
                capsys.readouterr()
                if builder.run(copy, command):
                    error = capsys.readouterr().err.splitlines()[-1]
                    assert error.startswith("error: ") and "No such file" not in error and "not empty" not in error
                builder.require_valid(copy, "older" in state)
                builder.run(copy, [*MERGE, *ANEW])
                assert builder.run(copy, [*BUILD, *ANEW]) == 0
                assert tree(split(copy)) == builder.whole
                left = {path.name for path in copy.glob("unc/.*") if ".part-" not in path.name}
                assert left <= {".train_batch.lock-1-of-2", ".train_batch.lock-2-of-2"}
