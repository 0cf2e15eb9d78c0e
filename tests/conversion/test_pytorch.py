"""Checkpoints of MaskRIS and CARIS to Keras models, and back."""

import argparse
import json

import keras
import numpy as np
import pytest

import convert_tf1_ckpt
import convert_torch_ckpt
from cmpc_tf2.conversion.names.bert import infer_config as infer_bert
from cmpc_tf2.conversion.names.maskris import (
    MASK_TOKEN,
    infer_config,
    maskris_pairs,
    optimizer_groups,
    unused_variables,
)
from cmpc_tf2.conversion.pytorch import convert, convert_back
from cmpc_tf2.conversion.torch_reader import read_torch_file
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.recipes.adamw import GroupedAdamW, WarmupPolynomialDecay
from cmpc_tf2.text.config import BertConfig
from cmpc_tf2.training.checkpoints import OptimizerState
from maskris_original import GOLDEN, TINY, read_golden, weight_by_rule
from small_maskris import SMALL
from torch_states import adamw_state

# Axes of Keras in PyTorch's order, and an array that fits nothing.
AXES = {"linear": (1, 0), "conv": (2, 3, 1, 0)}
VECTOR = np.zeros(3, np.float32)


def read_entries(name: str) -> list[dict]:
    return json.loads((GOLDEN / f"maskris_{name}_manifest.json").read_text())["parameters"]


@pytest.fixture(scope="module")
def tiny_state():
    """The state dict behind `maskris_tiny.npz`, in the original's order."""
    state = {}
    for entry in read_entries("tiny"):
        shape = tuple(entry["shape"])
        is_buffer = entry["kind"] == "buffer"
        state[entry["name"]] = np.zeros(shape, entry["dtype"]) if is_buffer else weight_by_rule(entry["name"], shape)
    return state


@pytest.fixture(scope="module")
def small_state(maskris_model, tmp_path_factory):
    """The state dict of a CARIS checkpoint: a MaskRIS's, without `mask_token`."""
    folder = tmp_path_factory.mktemp("small")
    save_model(maskris_model, folder / "small.keras")
    convert_back(str(folder / "small.keras"), str(folder / "small.pth"))
    state = {name: np.array(value) for name, value in read_torch_file(folder / "small.pth")["model"].items()}
    del state[MASK_TOKEN]
    return state


def assert_refused(path: str, tmp_path, *expected: str, options=()):
    """The conversion fails with these words and leaves nothing behind."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as failure:
        convert(path, str(tmp_path / "out.keras"), **dict(options))
    for words in (path, *expected):
        assert words in str(failure.value)
    assert sorted(tmp_path.iterdir()) == before


def test_sizes_of_published_checkpoints():
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in read_entries("full")}
    assert infer_config(shapes) == MaskRISConfig()
    bert = {name.replace("backbone.lang_encoder.", "bert."): shape for name, shape in shapes.items()}
    assert infer_bert(bert) == BertConfig()


def test_every_tensor_of_the_original_is_written():
    """The original resumes from a file strictly: neither a tensor too many nor one too few."""
    config, entries = MaskRISConfig(), {entry["name"]: entry for entry in read_entries("full")}
    unused = unused_variables(config)
    assert sorted([*unused, *(pair.torch for pair in maskris_pairs(config))]) == sorted(entries)
    for name, value in unused.items():
        assert (list(value.shape), str(value.dtype)) == (entries[name]["shape"], entries[name]["dtype"])
    # The original computes with what it reads: the class weights, background first, and the row of the bias table for
    # each pair of cells.
    np.testing.assert_array_equal(unused.pop("criterion.seg_criterion.weight"), np.float32([0.9, 1.1]))
    y, x = np.divmod(np.arange(49), 7)
    expected = (y[:, None] - y + 6) * 13 + x[:, None] - x + 6
    del unused[MASK_TOKEN]
    assert len(unused) == 24
    for name, value in unused.items():
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_training_checkpoint_of_the_original(tiny_state, write_torch, tmp_path, capsys):
    """With the arguments, the optimizer and the schedule of the run in it; the logits are the original's."""
    content = {
        "model": tiny_state,
        "optimizer": {"state": {0: {"step": 8}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        "epoch": 49,
        "args": argparse.Namespace(model="caris", lr=0.0001),
        "lr_scheduler": {"last_epoch": 3, "base_lrs": [0.1, 0.2]},
        "sizes": TINY.to_dict(),
    }
    output, report_file = str(tmp_path / "m.keras"), tmp_path / "report.json"
    arguments = ["--checkpoint", write_torch(content), "--output", output, "--report", str(report_file)]
    assert convert_torch_ckpt.main(arguments) == 0
    lines = capsys.readouterr().out
    assert "maskris, 346 variables converted, 11 ignored" in lines and "tells the size" not in lines
    report = json.loads(report_file.read_text())
    names = [entry["torch"] for entry in report["converted"] + report["ignored"]]
    assert sorted(names) == sorted(tiny_state) and all(entry["why"] for entry in report["ignored"])
    golden = read_golden("tiny")
    model = load_model(output)
    mean, deviation = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
    inputs = {
        "image": (golden["0/image"][None] / np.float32(255) - mean) / deviation,
        "token_ids": golden["0/ids"].reshape(1, -1).astype("int32"),
        "token_mask": golden["0/attention"].reshape(1, -1).astype("int32"),
    }
    logits = keras.ops.convert_to_numpy(model(inputs)["coarse_logits"])[0]
    np.testing.assert_allclose(logits.transpose(2, 0, 1), golden["0/logits"], rtol=0, atol=2e-5)


def test_round_trip_keeps_every_byte(small_state, write_torch, tmp_path):
    path, back = write_torch({f"module.{name}": value for name, value in small_state.items()}), tmp_path / "back.pth"
    report = convert(path, str(tmp_path / "m.keras"))
    assert report["config"] == {**SMALL.to_dict(), "image_size": 448}
    assert report["assumed"] == ["image_size", "max_words", "bert.heads", "decoder_heads", "groups"]
    assert convert_back(str(tmp_path / "m.keras"), str(back)) == len(small_state) + 1
    found = read_torch_file(back)
    assert found["sizes"]["image_size"] == 448
    for name, value in small_state.items():
        assert found["model"][name].dtype == value.dtype
        assert found["model"][name].tobytes() == value.tobytes(), name


def test_the_numbers_of_positions_are_ignored(small_state, write_torch, tmp_path):
    """A buffer of int64 that newer versions of BERT save too."""
    name = "backbone.lang_encoder.embeddings.position_ids"
    state = {**small_state, name: np.arange(22)[None]}
    report = convert(write_torch({"model": state}), str(tmp_path / "m.keras"))
    assert {"torch": name, "why": "the numbers of the positions"} in report["ignored"]
    assert optimizer_groups(list(state)) == optimizer_groups(list(small_state))


def test_sizes_that_shapes_do_not_tell_survive_a_round_trip(maskris_model, tmp_path):
    save_model(maskris_model, tmp_path / "a.keras")
    convert_back(str(tmp_path / "a.keras"), str(tmp_path / "a.pth"))
    convert(str(tmp_path / "a.pth"), str(tmp_path / "b.keras"))
    assert load_model(tmp_path / "b.keras", MaskRIS).config == SMALL


def test_every_misfit_is_listed(small_state, write_torch, tmp_path):
    state = dict(small_state)
    del state["pixel_decoder.lang_embed.4.bias"]
    state["pixel_decoder.novelty"] = np.zeros(3, np.float32)
    state["pixel_decoder.lang_in_norm.bias"] = np.zeros(3, np.float32)
    state["pixel_decoder.lang_in_norm.weight"] = np.zeros(64, np.int64)
    state["pixel_decoder.lang_in_linear.bias"] = np.full(64, np.nan, np.float32)
    assert_refused(
        write_torch({"model": state}),
        tmp_path,
        "1 missing, 1 unexpected, 1 of another shape); nothing was written",
        "missing: pixel_decoder.lang_embed.4.bias",
        "unexpected: pixel_decoder.novelty",
        "wrong shape: pixel_decoder.lang_in_norm.bias is [3], expected [64]",
        "wrong type: pixel_decoder.lang_in_norm.weight is int64, expected floating-point numbers",
        "not finite: pixel_decoder.lang_in_linear.bias holds infinities or NaN",
    )


def test_sizes_that_cannot_be(small_state, tiny_state, write_torch, tmp_path):
    assert_refused(write_torch({"model": small_state, "sizes": {"layers": 3}}), tmp_path, "sizes.layers: unknown name")
    assert_refused(
        write_torch({"model": tiny_state}), tmp_path, "not the sizes of a MaskRIS model: feature_dim: expected a"
    )


def test_checkpoints_of_other_models(write_torch, tmp_path):
    systems = "maskris, mattnet, cac, sl_att, cg_sl_att, swin, mask_rcnn, bert"
    words = f"not a checkpoint of {systems}: none of its 1 variables is theirs (it has conv1.weight, ...)"
    assert_refused(write_torch({"conv1.weight": np.zeros(3, np.float32)}), tmp_path, words)


def test_groups_of_the_optimizer():
    entries = read_entries("full")
    expected = [[entry["name"] for entry in entries if entry.get("group") == group] for group in range(6)]
    assert optimizer_groups([entry["name"] for entry in entries]) == expected


@pytest.fixture
def training_state(small_state, rng):
    """A checkpoint of training, after 8 steps."""
    optimizer, params = adamw_state(small_state, 8, rng)
    return {"model": small_state, "optimizer": optimizer}, params


def test_the_state_of_adamw(training_state, write_torch, tmp_path, capsys):
    content, params = training_state
    model, state = tmp_path / "m.keras", tmp_path / "state.npz"
    command = ["--checkpoint", write_torch(content), "--output", str(model), "--optimizer", str(state)]
    assert convert_torch_ckpt.main(command) == 0
    assert "maskris, step 8," in capsys.readouterr().out
    variables = load_model(model).trainable_variables
    optimizer = GroupedAdamW(WarmupPolynomialDecay(0.1, total_steps=20, warmup_steps=3))
    optimizer.build(variables)
    OptimizerState.from_file(state).restore(optimizer)
    assert int(optimizer.iterations) == 8
    places = {pair.keras: pair for pair in maskris_pairs(SMALL)}
    for index, variable in enumerate(variables):
        pair = places[variable.path]
        entry = content["optimizer"]["state"][params.index(pair.torch)]
        for moment, slots in (("exp_avg", optimizer._momentums), ("exp_avg_sq", optimizer._velocities)):
            expected = (
                entry[moment].transpose((2, 3, 1, 0)[-entry[moment].ndim :])
                if pair.transform == "conv"
                else entry[moment]
            )
            expected = expected.T if pair.transform == "linear" else expected
            np.testing.assert_array_equal(slots[index], expected)


def test_the_state_of_adamw_is_refused_where_it_is_not_whole(training_state, write_torch, tmp_path):
    content, params = training_state
    options = {"optimizer_file": str(tmp_path / "state.npz")}.items()
    state, groups = content["optimizer"]["state"], content["optimizer"]["param_groups"]
    first = params[0]
    other_step, other_shape = ({**state, 0: {**state[0], **new}} for new in ({"step": 9}, {"exp_avg": VECTOR}))
    missing = {index: entry for index, entry in state.items() if index}
    for optimizer, words in (
        (3, "not a training checkpoint: it holds no state of AdamW"),
        ({"state": state, "param_groups": groups[:5]}, "the optimizer has groups of ["),
        ({"state": other_step, "param_groups": groups}, "that were all updated equally often"),
        ({"state": other_shape, "param_groups": groups}, f"exp_avg of {first} is float32 [3]; expected ["),
        ({"state": missing, "param_groups": groups}, f"the state of the optimizer lacks {first}"),
    ):
        assert_refused(write_torch({**content, "optimizer": optimizer}), tmp_path, words, options=options)


def test_the_script_is_the_command(maskris_model, tmp_path, capsys):
    model, back = str(tmp_path / "m.keras"), str(tmp_path / "back.pth")
    save_model(maskris_model, model)
    results = []
    for main in (convert_torch_ckpt.main, convert_tf1_ckpt.main):
        statuses = [
            main(["--to-torch", "--model", model, "--output", back]),
            main(["--to-torch", "--model", model, "--output", model]),
            main(["--to-tf1", "--model", model, "--output", str(tmp_path / "tf1")]),
            main(["--checkpoint", back, "--output", back]),
            main(["--checkpoint", str(tmp_path / "absent.pth"), "--output", model]),
        ]
        results.append([statuses, (tmp_path / "back.pth").read_bytes(), capsys.readouterr()])
    assert results[0] == results[1]
    assert results[0][0] == [0, 1, 1, 1, 1]
    for arguments in (["--to-torch", "--output", back], ["--to-torch", "--to-tf1", "--output", back]):
        with pytest.raises(SystemExit) as stopped:
            convert_torch_ckpt.main(arguments)
        assert stopped.value.code == 2
