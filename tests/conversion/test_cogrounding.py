"""Checkpoints of SL-Att. and CG-SL-Att. to Keras models, and back."""

import json

import numpy as np
import pytest

import convert_torch_ckpt
from cmpc_tf2.conversion.families import load_families
from cmpc_tf2.conversion.pytorch import convert, convert_back
from cmpc_tf2.conversion.torch_reader import read_torch_file
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cogrounding_original import GOLDEN, TINY, TINY_CLIPS, normalize, read_golden, read_manifest, weight_by_rule
from cogrounding_tf2.config import CoGroundingConfig, GroundingConfig
from cogrounding_tf2.conversion.names import infer_image_config, infer_video_config

CHECKPOINT = GOLDEN / "cogrounding_video_tiny.pth.tar"
TOLERANCE = 2e-5


def read_entries(name: str) -> list[dict]:
    return json.loads((GOLDEN / f"cogrounding_{name}_manifest.json").read_text())


@pytest.fixture(scope="module")
def image_state() -> dict[str, np.ndarray]:
    """The state dict of an image checkpoint with the golden's weights."""
    state = {}
    for entry in read_entries("image_tiny"):
        name, shape = entry["name"], tuple(entry["shape"])
        is_count = entry["dtype"] == "int64"
        state[f"module.{name}"] = np.full((), 7, np.int64) if is_count else weight_by_rule(name, shape)
    return state


@pytest.fixture(scope="module")
def video_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "m.keras"
    return path, convert(str(CHECKPOINT), str(path))


def assert_refused(path: str, tmp_path, *expected: str, **options):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as failure:
        convert(path, str(tmp_path / "out.keras"), **options)
    for words in (path, *expected):
        assert words in str(failure.value)
    assert sorted(tmp_path.iterdir()) == before


def test_sizes_of_published_checkpoints():
    assert infer_image_config(read_manifest("image_full")) == GroundingConfig()
    assert infer_video_config(read_manifest("video_full")) == CoGroundingConfig()


@pytest.mark.parametrize("name, config", [("sl_att", GroundingConfig()), ("cg_sl_att", CoGroundingConfig())])
def test_every_tensor_of_the_original_is_written(name, config):
    """The original reads a file strictly: neither a tensor too many nor one too few."""
    entries = {entry["name"]: entry for entry in read_entries(f"{'video' if name == 'cg_sl_att' else 'image'}_full")}
    family = load_families()[name]
    unused = family.unused_variables(config)
    assert sorted({*unused, *(pair.torch for pair in family.pairs(config))}) == sorted(entries)
    assert len(entries) == {"sl_att": 577, "cg_sl_att": 595}[name]
    for count, value in unused.items():
        assert (list(value.shape), str(value.dtype), int(value)) == ([], entries[count]["dtype"], 0)


def test_a_checkpoint_of_the_original(video_model, parity):
    path, report = video_model
    assert report["model"] == "cg_sl_att" and report["config"] == TINY_CLIPS.to_dict()
    assert report["assumed"] == ["max_words", "clip_frames"]
    names = {entry["torch"] for entry in report["converted"]} | {entry["torch"] for entry in report["ignored"]}
    assert sorted(names) == sorted(entry["name"] for entry in read_entries("video_tiny"))
    assert {entry["why"] for entry in report["ignored"]} == {"counts the batches of training; nothing reads it"}
    golden, model = read_golden("video_tiny"), load_model(path)
    inputs = {"clip": normalize(golden["frames"][:1]), "token_ids": golden["words"][:1].astype("int32")}
    found = np.asarray(model(inputs)["similarity"])[0, :64].reshape(8, 8)
    parity.within("CG-SL-Att., converted: similarity", found, golden["five/0/sim_0"], TOLERANCE)


def test_there_and_back(video_model, tmp_path):
    path, back = video_model[0], tmp_path / "back.pth.tar"
    assert convert_back(str(path), str(back)) == 595
    expected, found = read_torch_file(CHECKPOINT), read_torch_file(back)
    assert found.pop("sizes") == TINY_CLIPS.to_dict()
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in expected.items()}
    assert found["state_dict"].keys() == expected["state_dict"].keys()
    for name, value in expected["state_dict"].items():
        other = found["state_dict"][name]
        assert (other.shape, other.dtype) == (value.shape, value.dtype) and other.tobytes() == value.tobytes(), name


def test_an_image_checkpoint_in_the_newer_format(image_state, write_torch, tmp_path, capsys):
    content = {"epoch": 3, "state_dict": image_state, "best_loss": 0.5, "optimizer": {}}
    path, model, back = write_torch(content, "image.pth.tar"), str(tmp_path / "m.keras"), str(tmp_path / "back.pth")
    assert convert_torch_ckpt.main(["--checkpoint", path, "--output", model]) == 0
    assert "sl_att, 486 variables converted, 91 ignored" in capsys.readouterr().out
    assert load_model(model).config == TINY
    assert convert_torch_ckpt.main(["--to-torch", "--model", model, "--output", back]) == 0
    state = read_torch_file(back)["state_dict"]
    assert state.keys() == image_state.keys()
    for name, value in image_state.items():
        assert (state[name] == value).all() or name.endswith("num_batches_tracked"), name


def test_files_without_the_prefix_or_the_dict_around(image_state, write_torch, tmp_path):
    state = {name.removeprefix("module."): value for name, value in image_state.items()}
    assert convert(write_torch(state), str(tmp_path / "m.keras"))["model"] == "sl_att"


def test_every_misfit_is_listed(image_state, write_torch, tmp_path):
    state = dict(image_state)
    del state["module.loc_attn.fc.bias"]
    state["module.novelty"] = np.zeros(3, np.float32)
    state["module.fcn_emb.1.0.conv.weight"] = np.zeros((20, 47, 1, 1), np.float32)
    state["module.mapping_lang.0.weight"] = state["module.mapping_lang.0.weight"].astype("int64")
    assert_refused(
        write_torch({"state_dict": state}),
        tmp_path,
        "1 missing, 1 unexpected, 1 of another shape); nothing was written",
        "missing: loc_attn.fc.bias",
        "unexpected: novelty",
        "wrong shape: fcn_emb.1.0.conv.weight is [20, 47, 1, 1], expected [20, 48, 1, 1]",
        "wrong type: mapping_lang.0.weight is int64",
    )


def test_a_damaged_file(tmp_path):
    path = tmp_path / "cut.pth.tar"
    path.write_bytes(CHECKPOINT.read_bytes()[:-1000])
    assert_refused(str(path), tmp_path, "damaged or cut off")


def test_the_vocabulary_has_to_fit(tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(["<pad>", "<go>", "<eos>", "<unk>", "man"]))
    words = "5 words, but the model has 37"
    with pytest.raises(InputError, match=words):
        convert(str(CHECKPOINT), str(tmp_path / "m.keras"), vocabulary_file=str(tmp_path / "words.txt"))
    assert not (tmp_path / "m.keras").exists()


def test_the_state_of_the_optimizer_is_not_converted(tmp_path):
    options = {"optimizer_file": str(tmp_path / "state.npz")}
    assert_refused(str(CHECKPOINT), tmp_path, "a CG-SL-Att. (video) model has no optimizer", **options)
