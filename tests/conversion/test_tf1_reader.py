"""TensorFlow 1 checkpoints of both formats, whole and damaged."""

import keras
import numpy as np
import pytest

from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.conversion.names.backbone import backbone_pairs
from cmpc_tf2.conversion.tf1 import convert
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from original import write_checkpoint, write_v1_checkpoint


def test_prefix_without_index(assert_refused, tmp_path):
    assert_refused(str(tmp_path / "nothing"), "nothing: no such checkpoint")


def test_a_wrong_prefix_is_explained(small_values, write, tmp_path):
    prefix = write(small_values)
    with pytest.raises(InputError, match="give the prefix alone"):
        TF1Checkpoint(f"{prefix}.index")
    with pytest.raises(InputError, match="that folder has ckpt"):
        TF1Checkpoint(str(tmp_path / "other"))
    with pytest.raises(InputError, match="is a folder; expected the prefix"):
        TF1Checkpoint(str(tmp_path))


def test_a_backbone_of_format_v1(small_model, small_values, tmp_path):
    """The format of DeepLab's `npy2ckpt.py`: one file, or several for large checkpoints."""
    names = [pair.tf1 for pair in backbone_pairs(small_model.config.backbone)]
    values = {name: small_values[name] for name in names}
    write_v1_checkpoint(tmp_path / "one.ckpt", values)
    assert convert(str(tmp_path / "one.ckpt"), str(tmp_path / "b.keras"))["model"] == "backbone"
    weights = {variable.path: variable for variable in load_model(tmp_path / "b.keras", DeepLabResNet).variables}
    for pair in backbone_pairs(small_model.config.backbone):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weights[pair.keras]), values[pair.tf1])
    for shard in range(2):
        write_v1_checkpoint(
            tmp_path / f"two.ckpt-0000{shard}-of-00002", {name: values[name] for name in names[shard::2]}
        )
    checkpoint = TF1Checkpoint(str(tmp_path / "two.ckpt"))
    assert all(checkpoint.read(name).tobytes() == value.tobytes() for name, value in values.items())
    with pytest.raises(InputError, match="-00001-of-00002: give the prefix alone"):
        TF1Checkpoint(str(tmp_path / "two.ckpt-00001-of-00002"))


def test_a_shard_is_missing(assert_refused, tmp_path):
    for shard in ("v1-00000-of-00003", "v1-00002-of-00003"):
        write_v1_checkpoint(tmp_path / shard, {shard: np.zeros(3, "float32")})
    assert_refused(str(tmp_path / "v1"), "v1-00001-of-00003: no such file; the checkpoint has 3 such files")
    write_checkpoint(tmp_path / "v2", {"a": np.zeros(3, "float32")})
    (tmp_path / "v2.data-00000-of-00001").rename(tmp_path / "v2.data-00000-of-00002")
    assert_refused(str(tmp_path / "v2"), "v2.data-00001-of-00002: no such file")


def test_damaged_v1(assert_refused, tmp_path):
    write_v1_checkpoint(tmp_path / "whole", {"conv1/weights": np.zeros((7, 7, 3, 4), "float32")})
    content = (tmp_path / "whole").read_bytes()
    for damaged in (b"", content[:-1], content[:30] + b"x" + content[31:]):
        (tmp_path / "ckpt").write_bytes(damaged)
        assert_refused(str(tmp_path / "ckpt"), "ckpt: not a readable TensorFlow checkpoint: ")


def test_truncated_data(assert_refused, small_values, write, tmp_path):
    prefix = write(small_values)
    data = tmp_path / "ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    assert_refused(prefix, "cut off")
    data.unlink()
    assert_refused(prefix, "no such file")


def test_damaged_data(assert_refused, small_values, write, tmp_path):
    prefix = write(small_values)
    data = tmp_path / "ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(content)
    assert_refused(prefix, "cannot read variable")


def test_damaged_index(assert_refused, small_values, write, tmp_path):
    prefix = write(small_values)
    (tmp_path / "ckpt.index").write_bytes(b"not an index")
    assert_refused(prefix, "ckpt.index: not a readable TensorFlow checkpoint: ")


def test_prefix_with_wildcards(assert_refused, tmp_path):
    assert_refused(str(tmp_path / "unc[1]*"), "for wildcards; rename")
