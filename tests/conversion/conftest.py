"""Fixtures of the conversion tests."""

import keras
import pytest

from cmpc_tf2.conversion.tf1 import convert
from cmpc_tf2.errors import InputError
from cmpc_tf2.models.maskris.model import MaskRIS
from convert_tf1_ckpt import main
from small_maskris import SMALL
from torch_files import save


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


@pytest.fixture(scope="module")
def maskris_model():
    keras.utils.set_random_seed(3)
    return MaskRIS(SMALL, name="maskris")


@pytest.fixture
def write_torch(tmp_path):
    """Writes a PyTorch file and gives its path."""

    def write_torch(content, name: str = "model.pth") -> str:
        (tmp_path / name).write_bytes(save(content))
        return str(tmp_path / name)

    return write_torch
