import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2 import cli
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.conversion import tf1
from cmpc_tf2.conversion.names.backbone import backbone_pairs
from cmpc_tf2.conversion.names.cmpc import cmpc_pairs
from cmpc_tf2.conversion.tf1 import convert, convert_back, tf1_shape
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.training.checkpoints import OptimizerState
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer
from convert_tf1_ckpt import main
from original import read_manifest, write_checkpoint, write_v1_checkpoint


@pytest.fixture(scope="module")
def small_values(small_model):
    """The TensorFlow 1 variables of a small evaluation checkpoint, random."""
    rng = np.random.default_rng(2)
    shapes = {v.path: v.shape for v in small_model.variables}
    pairs = cmpc_pairs(small_model.config)
    return {pair.tf1: rng.normal(size=tf1_shape(pair, shapes[pair.keras])).astype("float32") for pair in pairs}


@pytest.fixture
def write(tmp_path):
    def write(values):
        write_checkpoint(tmp_path / "ckpt", values)
        return str(tmp_path / "ckpt")

    return write


def assert_refused(prefix, tmp_path, *expected):
    """The conversion fails with these words, in the command too, and leaves nothing behind."""
    output = tmp_path / "out.keras"
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as failure:
        convert(prefix, str(output))
    for words in (prefix, *expected):
        assert words in str(failure.value)
    assert main(["--checkpoint", prefix, "--output", str(output)]) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_names_are_the_originals():
    """Every variable of the released checkpoints' graph has a place."""
    manifest = read_manifest("image_full_eval")
    assert sorted(pair.tf1 for pair in cmpc_pairs(CMPCConfig())) == sorted(manifest)
    assert len(backbone_pairs(CMPCConfig().backbone)) == 520


def test_training_checkpoint_is_reported_completely(tiny_prefix, tiny_values, tmp_path, capsys):
    arguments = ["--checkpoint", tiny_prefix, "--output", str(tmp_path / "m.keras")]
    assert main([*arguments, "--report", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
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
    assert "735 variables converted, 433 ignored" in capsys.readouterr().out


def test_round_trip_keeps_every_byte(tiny_prefix, tiny_values, tmp_path):
    convert(tiny_prefix, str(tmp_path / "m.keras"))
    assert convert_back(str(tmp_path / "m.keras"), str(tmp_path / "back")) == 735
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


def test_a_prefix_may_be_as_long_as_names_can_be(small_model_file, tmp_path):
    prefix = str(tmp_path / ("a" * 235))
    convert_back(str(small_model_file), prefix)
    assert TF1Checkpoint(prefix).shapes and len(list(tmp_path.iterdir())) == 2


def test_step_is_reported(small_values, write, tmp_path):
    prefix = write({**small_values, "text_objseg/Variable_1": np.float32(700000)})
    assert convert(prefix, str(tmp_path / "m.keras"))["step"] == 700000


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


def test_every_misfit_is_listed(small_values, write, tmp_path):
    values = dict(small_values)
    del values["text_objseg/score/DW"], values["res4a_branch1/weights"], values["text_objseg/Variable"]
    values["text_objseg/c4_lateral/biases"] = np.zeros(11, "float32")
    values["text_objseg/fusion_c5/DW"] = values["text_objseg/fusion_c5/DW"][0, 0]
    values["text_objseg/score_c3/biases"] = values["text_objseg/score_c3/biases"].astype("float64")
    values["text_objseg/novelty"] = np.zeros(3, "float32")
    values["text_objseg/text_objseg/novelty/Adam"] = np.zeros(3, "float32")
    assert_refused(
        write(values),
        tmp_path,
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


def test_a_video_model_lacks_more_than_its_mark(small_values, write, tmp_path):
    values = small_values | {"text_objseg/tg_query_c3/DW": np.zeros((1, 1, 10, 10), "float32")}
    assert_refused(write(values), tmp_path, "53 missing", "missing: text_objseg/tg_key_c4/biases")


def test_prefix_without_index(tmp_path):
    assert_refused(str(tmp_path / "nothing"), tmp_path, "nothing: no such checkpoint")


def test_prefix_with_a_suffix_or_a_neighbour(small_values, write, tmp_path):
    prefix = write(small_values)
    with pytest.raises(InputError, match="give the prefix alone"):
        TF1Checkpoint(f"{prefix}.index")
    with pytest.raises(InputError, match="that folder has ckpt"):
        TF1Checkpoint(str(tmp_path / "other"))
    with pytest.raises(InputError, match="is a folder; expected the prefix"):
        TF1Checkpoint(str(tmp_path))


def test_a_backbone_of_format_v1(small_model, small_values, tmp_path):
    """What `npy2ckpt.py` of DeepLab writes: one file. Large ones come in shards."""
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


def test_a_shard_is_missing(tmp_path):
    for shard in ("v1-00000-of-00003", "v1-00002-of-00003"):
        write_v1_checkpoint(tmp_path / shard, {shard: np.zeros(3, "float32")})
    assert_refused(str(tmp_path / "v1"), tmp_path, "v1-00001-of-00003: no such file; the checkpoint has 3 such files")
    write_checkpoint(tmp_path / "v2", {"a": np.zeros(3, "float32")})
    (tmp_path / "v2.data-00000-of-00001").rename(tmp_path / "v2.data-00000-of-00002")
    assert_refused(str(tmp_path / "v2"), tmp_path, "v2.data-00001-of-00002: no such file")


def test_damaged_v1(tmp_path):
    write_v1_checkpoint(tmp_path / "whole", {"conv1/weights": np.zeros((7, 7, 3, 4), "float32")})
    content = (tmp_path / "whole").read_bytes()
    for damaged in (b"", content[:-1], content[:30] + b"x" + content[31:]):
        (tmp_path / "ckpt").write_bytes(damaged)
        assert_refused(str(tmp_path / "ckpt"), tmp_path, "ckpt: not a readable TensorFlow checkpoint: ")


def test_truncated_data(small_values, write, tmp_path):
    prefix = write(small_values)
    data = tmp_path / "ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    assert_refused(prefix, tmp_path, "cut off")
    data.unlink()
    assert_refused(prefix, tmp_path, "no such file")


def test_damaged_data(small_values, write, tmp_path):
    prefix = write(small_values)
    data = tmp_path / "ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(content)
    assert_refused(prefix, tmp_path, "cannot read variable")


def test_damaged_index(small_values, write, tmp_path):
    prefix = write(small_values)
    (tmp_path / "ckpt.index").write_bytes(b"not an index")
    assert_refused(prefix, tmp_path, "ckpt.index: not a readable TensorFlow checkpoint: ")


def test_checkpoints_of_other_models(shared_data, tmp_path):
    prefixes = [str(p.with_suffix("")) for p in sorted((shared_data / "tf1_checkpoints").glob("*/*.index"))]
    assert len(prefixes) == 8
    for prefix in prefixes:
        assert_refused(prefix, tmp_path, "not a checkpoint of cmpc, cmpc_video, rrn, rmi, lstm, backbone: none")


def test_prefix_with_wildcards(tmp_path):
    assert_refused(str(tmp_path / "unc[1]*"), tmp_path, "for wildcards; rename")


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


def convert_command(argv):
    return cli.main(["convert", *argv])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "x"],
        ["--checkpoint", "a", "--to-tf1", "--output", "x"],
        ["--to-tf1", "--output", "x"],
        ["--checkpoint", "a", "--model", "b", "--output", "x"],
        ["--to-tf1", "--model", "b", "--output", "x", "--report", "r"],
    ],
)
def test_usage_errors_exit_with_2(arguments, capsys):
    errors = []
    for run in (main, convert_command):
        with pytest.raises(SystemExit) as stopped:
            run(arguments)
        assert stopped.value.code == 2
        errors.append(capsys.readouterr().err.split(": error: ")[1])
    assert errors[0] == errors[1]


def test_the_command_is_the_script(small_model, small_values, write, tmp_path, capsys):
    """The same lines and files, for a result and for a mistake."""
    prefix = write({pair.tf1: small_values[pair.tf1] for pair in backbone_pairs(small_model.config.backbone)})
    output, back, report = (str(tmp_path / name) for name in ("b.keras", "back", "report.json"))
    results = []
    for run in (main, convert_command):
        statuses = [
            run(["--checkpoint", prefix, "--output", output, "--report", report]),
            run(["--to-tf1", "--model", output, "--output", back]),
            run(["--checkpoint", f"{prefix}.index", "--output", output]),
        ]
        contents = [(tmp_path / name).read_bytes() for name in ("report.json", "back.data-00000-of-00001")]
        results.append([statuses, contents, capsys.readouterr()])
    assert results[0] == results[1]
    assert results[0][0] == [0, 0, 1]


def test_outputs_never_replace_inputs_or_each_other(small_values, write, tmp_path, capsys):
    prefix, output = write(small_values), str(tmp_path / "m.keras")
    data = f"{prefix}.data-00000-of-00001"
    for report in (output, f"{prefix}.index", data, str(tmp_path)):
        assert main(["--checkpoint", prefix, "--output", output, "--report", report]) == 1
        assert report in capsys.readouterr().err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["ckpt.data-00000-of-00001", "ckpt.index"]
    convert(prefix, output)
    for bad in (str(tmp_path), ".", ""):
        assert main(["--to-tf1", "--model", output, "--output", bad]) == 1
        assert "expected a prefix" in capsys.readouterr().err


def test_values_that_are_not_finite(small_values, write, tmp_path):
    values = {**small_values, "text_objseg/score/biases": np.array([np.nan], "float32")}
    assert_refused(write(values), tmp_path, "text_objseg/score/biases holds values that are not finite")


@pytest.mark.parametrize("step", [np.zeros(3, "float32"), np.float32("nan"), np.float32(0.5)])
def test_a_step_that_is_no_number(step, small_values, write, tmp_path):
    prefix = write({**small_values, "text_objseg/Variable_1": step})
    assert_refused(prefix, tmp_path, "text_objseg/Variable_1: expected a whole number")


def test_the_state_of_adam_of_a_finetuned_backbone(tiny_values, write, tmp_path, capsys):
    """The original's `-conv5` has slots for the kernels of res3 to res5, and for nothing else of the backbone."""
    kernels = [name for name in tiny_values if re.fullmatch(r"res[345].*/weights", name)]
    slots = {f"text_objseg/{name}/Adam": tiny_values[name] for name in kernels}
    slots |= {f"text_objseg/{name}/Adam_1": 2 * tiny_values[name] for name in kernels}
    model, state = tmp_path / "out.keras", tmp_path / "out.npz"
    command = ["--checkpoint", write({**tiny_values, **slots}), "--output", str(model), "--optimizer", str(state)]
    assert main(command) == 0
    trainer = Trainer(load_model(model), TrainConfig("unc", "train", finetune_backbone=True))
    OptimizerState.from_file(state).restore(trainer.base_optimizer)
    index = {variable.path: number for number, variable in enumerate(trainer.trainable_variables)}
    for name in kernels:
        number = index[name.replace("weights", "kernel")]
        np.testing.assert_array_equal(trainer.base_optimizer._momentums[number], tiny_values[name])
        np.testing.assert_array_equal(trainer.base_optimizer._velocities[number], 2 * tiny_values[name])
    trainer = Trainer(load_model(model), TrainConfig("unc", "train"))
    with pytest.raises(InputError, match="is --finetune-backbone as it was"):
        OptimizerState.from_file(state).restore(trainer.base_optimizer)


def test_the_state_of_adam_is_refused_where_it_is_not_whole(tiny_values, small_values, write, tmp_path, capsys):
    output = ["--output", str(tmp_path / "out.keras"), "--optimizer", str(tmp_path / "out.npz")]
    slot = "text_objseg/text_objseg/score/DW/Adam_1"
    for values, words in (
        (small_values, "not a training checkpoint: it holds no slots of Adam"),
        ({name: value for name, value in tiny_values.items() if name != slot}, f"{slot} is missing"),
        (
            tiny_values | {"text_objseg/Variable_1": np.float32(9)},
            "beta1_power is 0.9, which does not belong to step 9",
        ),
        (tiny_values | {slot: tiny_values[slot] + np.nan}, "a slot of text_objseg/score/DW holds values that are not"),
        (tiny_values | {slot: np.zeros((2, 2), "float32")}, f"{slot} is [2, 2], which does not fit its weight"),
    ):
        assert main(["--checkpoint", write(values), *output]) == 1
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out.keras").exists() and not (tmp_path / "out.npz").exists()
