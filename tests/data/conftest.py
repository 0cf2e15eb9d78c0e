"""A split that several tests of the builder compare with."""

import pytest

import build_batches
from refer_layout import make_refer
from split_of_forty import REFERENCES, contents


@pytest.fixture(scope="session")
def arguments(tmp_path_factory):
    """40 references with 80 sentences, of which 13 have no words, and 3 a picture that is missing.

    The folder to build in has to follow.
    """
    root = tmp_path_factory.mktemp("source")
    *rest, _ = make_refer(root, REFERENCES)
    (root / "images" / "COCO_train2014_000000000017.jpg").unlink()
    return ["-d", "unc", "-t", "train", "--skip-errors", *rest]


@pytest.fixture(scope="session")
def whole(arguments, tmp_path_factory):
    """The split built in one go: name to bytes."""
    root = tmp_path_factory.mktemp("whole")
    assert build_batches.main([*arguments, str(root)]) == 0
    return contents(root)
