"""Fixtures of the conversion tests."""

import pytest

from cmpc_tf2.conversion.tf1 import convert
from cmpc_tf2.errors import InputError
from convert_tf1_ckpt import main


@pytest.fixture
def assert_refused(tmp_path):
    """Asserts that a conversion fails with some words, in the command too, and leaves no file behind."""

    def check(prefix: str, *expected: str):
        output = tmp_path / "out.keras"
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError) as failure:
            convert(prefix, str(output))
        for words in (prefix, *expected):
            assert words in str(failure.value)
        assert main(["--checkpoint", prefix, "--output", str(output)]) == 1
        assert sorted(tmp_path.iterdir()) == before

    return check
