"""Readers refuse damaged files in one line, within bounds of memory."""

import itertools
import json
import subprocess
import sys

import pytest

from conftest import ROOT
from fuzz.targets import NAMES


def fuzz(target: str, count: int):
    command = [sys.executable, "tests/fuzz", target, "--count", str(count)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout.splitlines()[-1])
    assert outcomes["read"] + outcomes["refused"] == count
    assert outcomes["refused"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("target", list(itertools.chain.from_iterable(NAMES.values())))
def test_damaged_files(target):
    fuzz(target, 2000)
