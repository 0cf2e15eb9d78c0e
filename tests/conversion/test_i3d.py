"""Checkpoints of I3D from Kinetics: both forms of the released ones, at an eighth of their width."""

import json

import numpy as np
import pytest

from cmpc_tf2.backbones.config import I3DConfig
from cmpc_tf2.backbones.i3d import InceptionI3D
from cmpc_tf2.cli import main
from cmpc_tf2.conversion.names.i3d import FAMILY, RGB, i3d_pairs
from cmpc_tf2.conversion.tf1_index import fingerprint, read_checksums
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.model_files import load_model
from original import GOLDEN, weight_by_rule, write_checkpoint

RELEASED = json.loads((GOLDEN / "i3d" / "i3d_checkpoints_manifest.json").read_text())


def narrow(shape: list[int]) -> tuple[int, ...]:
    """A shape at an eighth of the width; colours, sides of kernels and classes stay."""
    *leading, last = shape
    if len(shape) == 1 or set(leading) == {1}:
        return (*leading, last if last in (400, 600) else last // 8)
    inputs = leading[-1] if leading[-1] in (2, 3) else leading[-1] // 8
    return (*leading[:-1], inputs, last if last in (400, 600) else last // 8)


def values_like(name: str) -> dict[str, np.ndarray]:
    """The variables of a released checkpoint, narrow and by rule."""
    return {variable: weight_by_rule(variable, narrow(shape)) for variable, shape in RELEASED[name]["shapes"].items()}


@pytest.fixture(scope="module")
def convert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("i3d")

    def run(values: dict[str, np.ndarray]) -> int:
        write_checkpoint(str(folder / "model.ckpt"), values)
        options = ["--output", str(folder / "i3d.keras"), "--report", str(folder / "report.json")]
        return main(["convert", "--checkpoint", str(folder / "model.ckpt"), *options])

    run.folder = folder
    return run


@pytest.mark.parametrize("name, ignored", [("rgb_imagenet", 2), ("rgb_scratch_kin600", 118)])
def test_both_forms(name, ignored, convert, capsys):
    values = values_like(name)
    assert convert(values) == 0, capsys.readouterr().err
    report = json.loads((convert.folder / "report.json").read_text())
    assert report["model"] == "i3d" and report["config"] == {"width": 8}
    assert len(report["converted"]) == 228 and len(report["ignored"]) == ignored
    assert {one["why"].split(",")[0] for one in report["ignored"]} <= {
        "the classifier of Kinetics", "slot of the optimizer"
    }  # fmt: skip
    assert {one["tf1"] for part in ("converted", "ignored") for one in report[part]} == set(values)
    assert report["released"] is None
    weights = {variable.path: np.asarray(variable) for variable in load_model(convert.folder / "i3d.keras").variables}
    for pair in i3d_pairs(I3DConfig(width=8)):
        stored = values.get(pair.tf1, values.get(pair.tf1.removeprefix(RGB)))
        np.testing.assert_array_equal(weights[pair.keras].ravel(), stored.ravel(), err_msg=pair.tf1)


def test_names_and_shapes_are_those_of_the_released_checkpoints():
    variables = {variable.path: tuple(variable.shape) for variable in InceptionI3D().variables}
    pairs = i3d_pairs(I3DConfig())
    for name, start in (("rgb_imagenet", ""), ("rgb_scratch", ""), ("rgb_scratch_kin600", RGB)):
        shapes = {f"{start}{variable}": tuple(shape) for variable, shape in RELEASED[name]["shapes"].items()}
        assert {pair.tf1 for pair in pairs} == {
            variable for variable in shapes if "Logits" not in variable and "Momentum" not in variable
        }
        for pair in pairs:
            assert shapes[pair.tf1][-len(variables[pair.keras]) :] == variables[pair.keras]


def test_checksums_are_read_from_the_index(convert):
    """Of all variables of a released checkpoint, by their names there; computed anew from a few small ones."""
    values = values_like("rgb_scratch_kin600")
    write_checkpoint(str(convert.folder / "checksums"), values)
    checksums = read_checksums(convert.folder / "checksums.index")
    assert checksums.keys() == RELEASED["rgb_scratch_kin600"]["masked_crc32c"].keys()
    small = [name for name, value in values.items() if value.size < 50]
    assert len(small) > 50 and all(checksums[name] == masked_crc32c(values[name].tobytes()) for name in small)


def masked_crc32c(content: bytes) -> int:
    """Castagnoli's CRC, bit by bit, masked as TensorFlow stores it."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_released_checkpoints_are_known_by_their_checksums():
    known = {name: fingerprint(checkpoint["masked_crc32c"]) for name, checkpoint in RELEASED.items()}
    assert {name: digest for name, digest in known.items() if name.startswith("rgb")} == {
        name: digest for digest, name in FAMILY.released.items()
    }
    other = dict(RELEASED["rgb_imagenet"]["masked_crc32c"])
    other[f"{RGB}Conv3d_1a_7x7/conv_3d/w"] += 1
    assert fingerprint(other) not in FAMILY.released


def test_the_report_names_a_released_checkpoint(convert, monkeypatch):
    values = values_like("rgb_scratch")
    write_checkpoint(str(convert.folder / "known"), values)
    monkeypatch.setitem(FAMILY.released, TF1Checkpoint(str(convert.folder / "known")).fingerprint(), "rgb_scratch")
    for changed, released in ((0, "rgb_scratch"), (1, None)):
        values[f"{RGB}Logits/Conv3d_0c_1x1/conv_3d/b"] += changed
        assert convert(values) == 0
        assert json.loads((convert.folder / "report.json").read_text())["released"] == released


def test_a_flipped_byte_is_found(convert, capsys):
    write_checkpoint(str(convert.folder / "flipped"), values_like("rgb_imagenet"))
    data = convert.folder / "flipped.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 3] ^= 1
    data.write_bytes(content)
    output = convert.folder / "flipped.keras"
    assert main(["convert", "--checkpoint", str(convert.folder / "flipped"), "--output", str(output)]) == 1
    error = capsys.readouterr().err
    assert "flipped: cannot read variable RGB/inception_i3d/" in error and "Checksum does not match" in error
    assert not output.exists()


def test_flow_is_refused(convert, capsys):
    assert convert(values_like("flow_imagenet")) == 1
    error = capsys.readouterr().err
    assert "model.ckpt: an I3D of optical flow, which is not supported" in error and error.count("\n") == 1


def test_a_missing_and_a_misshapen_variable_are_named(convert, capsys):
    values = values_like("rgb_imagenet")
    del values[f"{RGB}Mixed_4c/Branch_1/Conv3d_0b_3x3/conv_3d/w"]
    values[f"{RGB}Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/beta"] = np.zeros((2, 16), np.float32)
    values["RGB/other"] = np.zeros(3, np.float32)
    assert convert(values) == 1
    error = capsys.readouterr().err
    assert f"missing: {RGB}Mixed_4c/Branch_1/Conv3d_0b_3x3/conv_3d/w" in error
    assert f"wrong shape: {RGB}Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/beta is [2, 16], expected [16]" in error
    assert "unexpected: RGB/other\n" in error


def test_the_way_back(convert):
    values = values_like("rgb_imagenet")
    assert convert(values) == 0
    back = convert.folder / "back"
    assert main(["convert", "--to-tf1", "--model", str(convert.folder / "i3d.keras"), "--output", str(back)]) == 0
    checkpoint = TF1Checkpoint(str(back))
    assert set(checkpoint.shapes) == {name for name in values if "Logits" not in name}
    for name in checkpoint.shapes:
        assert checkpoint.read(name).tobytes() == values[name].tobytes()
