import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.conversion import tf1
from cmpc_tf2.conversion.names.backbone import backbone_pairs
from cmpc_tf2.conversion.names.cmpc import cmpc_pairs
from cmpc_tf2.conversion.tf1 import convert, convert_back
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.cmpc.config import CMPCConfig
from convert_tf1_ckpt import main
from original import read_manifest


def test_names_are_the_originals():
    """Every variable of the released checkpoints' graph has a place."""
    manifest = read_manifest("image_full_eval")
    assert sorted(pair.tf1 for pair in cmpc_pairs(CMPCConfig())) == sorted(manifest)
    assert len(backbone_pairs(CMPCConfig().backbone)) == 520


def test_training_checkpoint_is_reported_completely(tiny_conversion, tiny_values):
    _, report, output = tiny_conversion
    assert report["model"] == "cmpc"
    assert report["config"]["image_size"] == 64
    assert report["config"]["feature_dim"] == 32
    assert report["missing"] == report["unexpected"] == []
    assert report["step"] == 0
    assert len(report["converted"]) == 735
    assert all(entry["why"] for entry in report["ignored"])
    names = [entry["tf1"] for entry in report["converted"] + report["ignored"]]
    assert sorted(names) == sorted(tiny_values)
    assert all(tuple(entry["shape"]) == tiny_values[entry["tf1"]].shape for entry in report["converted"])
    assert "735 variables converted, 433 ignored" in output


def test_round_trip_keeps_every_byte(tiny_conversion, tiny_values, tmp_path):
    assert convert_back(str(tiny_conversion[0]), str(tmp_path / "back")) == 735
    back = TF1Checkpoint(str(tmp_path / "back"))
    assert set(back.shapes) == set(read_manifest("image_full_eval"))
    for name in back.shapes:
        value = back.read(name)
        assert value.shape == tiny_values[name].shape
        assert value.tobytes() == tiny_values[name].tobytes(), name


def test_full_size_round_trip_keeps_every_byte(full_prefix, full_model_file, tmp_path, parity):
    convert_back(str(full_model_file), str(tmp_path / "back"))
    original, back = TF1Checkpoint(full_prefix), TF1Checkpoint(str(tmp_path / "back"))
    assert len(back.shapes) == 735
    for name in back.shapes:
        assert back.read(name).tobytes() == original.read(name).tobytes(), name
    parity.counted("variables of the image model at full size, converted and back", "equal bytes", len(back.shapes))


def test_a_prefix_may_have_the_maximum_length(small_model_file, tmp_path):
    prefix = str(tmp_path / ("a" * 235))
    convert_back(str(small_model_file), prefix)
    assert TF1Checkpoint(prefix).shapes and len(list(tmp_path.iterdir())) == 2


def test_vocabulary_goes_into_the_model(small_model, small_values, write, tmp_path):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("\n".join(small_model.vocabulary) + "\n")
    convert(write(small_values), str(tmp_path / "m.keras"), str(vocabulary))
    assert load_model(tmp_path / "m.keras").vocabulary == small_model.vocabulary
    vocabulary.write_text("<pad>\n<unk>\n")
    with pytest.raises(InputError, match="2 words, but the model has 12"):
        convert(str(tmp_path / "ckpt"), str(tmp_path / "m.keras"), str(vocabulary))


def test_backbone_both_ways(small_model, small_values, write, tmp_path):
    names = [pair.tf1 for pair in backbone_pairs(small_model.config.backbone)]
    values = {name: small_values[name] for name in names}
    classifier = {"fc1_voc12_c0/weights": np.zeros((3, 3, 128, 21), "float32")}
    report = convert(write({**values, **classifier}), str(tmp_path / "b.keras"))
    assert report["model"] == "backbone"
    assert [entry["tf1"] for entry in report["ignored"]] == list(classifier)
    backbone = load_model(tmp_path / "b.keras", DeepLabResNet)
    assert backbone.config == small_model.config.backbone
    np.testing.assert_array_equal(backbone.get_layer("res2a_branch2b").kernel, values["res2a_branch2b/weights"])
    assert main(["--to-tf1", "--model", str(tmp_path / "b.keras"), "--output", str(tmp_path / "back")]) == 0
    back = TF1Checkpoint(str(tmp_path / "back"))
    assert all(back.read(name).tobytes() == value.tobytes() for name, value in values.items())


def test_every_mismatch_is_listed(assert_refused, small_values, write):
    values = dict(small_values)
    del values["text_objseg/score/DW"], values["res4a_branch1/weights"], values["text_objseg/Variable"]
    values["text_objseg/c4_lateral/biases"] = np.zeros(11, "float32")
    values["text_objseg/fusion_c5/DW"] = values["text_objseg/fusion_c5/DW"][0, 0]
    values["text_objseg/score_c3/biases"] = values["text_objseg/score_c3/biases"].astype("float64")
    values["text_objseg/novelty"] = np.zeros(3, "float32")
    values["text_objseg/text_objseg/novelty/Adam"] = np.zeros(3, "float32")
    assert_refused(
        write(values),
        "3 missing, 2 unexpected, 2 of another shape",
        "missing: text_objseg/score/DW",
        "missing: text_objseg/Variable",
        "missing: res4a_branch1/weights",
        "unexpected: text_objseg/novelty",
        "unexpected: text_objseg/text_objseg/novelty/Adam",
        "wrong shape: text_objseg/c4_lateral/biases is [11], expected [10]",
        "wrong shape: text_objseg/fusion_c5/DW",
        "wrong type: text_objseg/score_c3/biases is not float32",
    )


def test_one_variable_of_the_video_model_is_not_enough(assert_refused, small_values, write):
    values = small_values | {"text_objseg/tg_query_c3/DW": np.zeros((1, 1, 10, 10), "float32")}
    assert_refused(write(values), "53 missing", "missing: text_objseg/tg_key_c4/biases")


def test_checkpoints_of_other_models(assert_refused, shared_data):
    prefixes = [str(p.with_suffix("")) for p in sorted((shared_data / "tf1_checkpoints").glob("*/*.index"))]
    assert len(prefixes) == 8
    for prefix in prefixes:
        assert_refused(prefix, "not a checkpoint of cmpc, cmpc_video, rrn, rmi, lstm, backbone, i3d: none")


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(small_model_file, tmp_path, monkeypatch):
    def fail(prefix, **_):
        raise tf.errors.OutOfRangeError(None, None, "disk full\nmore")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", fail)
    with pytest.raises(InputError, match="back: cannot be written: disk full"):
        convert_back(str(small_model_file), str(tmp_path / "back"))
    assert not list(tmp_path.iterdir())


def test_output_is_checked_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(tf1, "TF1Checkpoint", None)
    with pytest.raises(InputError, match=r"ends in \.keras"):
        convert("x", str(tmp_path / "model.h5"))
    with pytest.raises(InputError, match="does not exist"):
        convert("x", str(tmp_path / "nowhere" / "model.keras"))


def test_a_failed_write_leaves_the_old_file(small_values, write, tmp_path, monkeypatch):
    output = tmp_path / "m.keras"
    output.write_text("old")

    def fail(self, path):
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(keras.Model, "save", fail)
    assert main(["--checkpoint", write(small_values), "--output", str(output)]) == 1
    assert output.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_values_that_are_not_finite(assert_refused, small_values, write):
    values = {**small_values, "text_objseg/score/biases": np.array([np.nan], "float32")}
    assert_refused(write(values), "text_objseg/score/biases holds values that are not finite")
