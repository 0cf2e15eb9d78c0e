"""A train split of 40 references, for the tests of the builder."""

from pathlib import Path

from cmpc_tf2.data.batches import split_folder

REFERENCES = [
    {"ref_id": number, "split": "train", "sentences": ["red man", "left", ""][: 1 + number % 3]}
    for number in range(1, 41)
]


def interrupt(*_):
    raise KeyboardInterrupt


def contents(root: Path) -> dict[str, bytes]:
    folder = split_folder(root, "unc", "train")
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}  # Nothing else is left.
    return {path.name: path.read_bytes() for path in folder.iterdir()}
