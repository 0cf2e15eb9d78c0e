"""Files of Swin Transformer and BERT to the parts that MaskRIS starts from."""

import argparse
import dataclasses

import numpy as np
import pytest

from cmpc_tf2.backbones.swin import SwinTransformer
from cmpc_tf2.conversion.names.bert import bert_pairs
from cmpc_tf2.conversion.names.swin import swin_file_pairs
from cmpc_tf2.conversion.pytorch import convert
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.text.bert_encoder import BertEncoder
from cmpc_tf2.training.start_files import load_backbone, load_bert
from small_maskris import BERT, SMALL, SWIN
from torch_files import safetensors_file
from torch_states import random_state

SWIN_BLOCKS = ["layers.0.blocks.0", "layers.1.blocks.0", "layers.1.blocks.1", "layers.2.blocks.0", "layers.3.blocks.0"]


@pytest.fixture
def swin_state(rng):
    """A Swin Transformer with everything that its published files hold besides."""
    shapes = {variable.path: variable.shape for variable in SwinTransformer(SWIN, image_size=32).variables}
    state = random_state(swin_file_pairs(SWIN), shapes, rng)
    state |= {f"{block}.attn.relative_position_index": np.zeros((9, 9), np.int64) for block in SWIN_BLOCKS}
    state |= {"layers.1.blocks.1.attn_mask": np.zeros((4, 9, 9), np.float32)}
    others = {"norm.weight": (64,), "norm.bias": (64,), "head.weight": (5, 64), "head.bias": (5,)}
    return {**state, **{name: np.zeros(shape, np.float32) for name, shape in others.items()}}


@pytest.fixture
def bert_state(rng):
    """A BERT with everything that its published files hold besides."""
    shapes = {variable.path: variable.shape for variable in BertEncoder(BERT).variables}
    state = random_state(bert_pairs(BERT), shapes, rng)
    others = ("bert.pooler.dense.bias", "cls.predictions.bias", "cls.predictions.transform.LayerNorm.gamma")
    state["bert.embeddings.position_ids"] = np.arange(22)[None]
    return {**state, **{name: np.zeros(64, np.float32) for name in others}}


def test_a_swin_transformer(swin_state, write_torch, tmp_path):
    path, output = write_torch({"model": swin_state}, "swin.pth"), str(tmp_path / "swin.keras")
    report = convert(path, output)
    assert report["model"] == "swin" and report["config"] == SWIN.to_dict()
    assert len(report["ignored"]) == 10 and all(entry["why"] for entry in report["ignored"])
    assert report["assumed"] == []
    model = MaskRIS(SMALL)
    load_backbone(model, output)
    attention = model.get_backbone().get_layer("layers.1.blocks.1").attn
    np.testing.assert_array_equal(attention.qkv.kernel, swin_state["layers.1.blocks.1.attn.qkv.weight"].T)
    np.testing.assert_array_equal(model.get_backbone().get_layer("norm2").gamma, np.ones(32))
    with pytest.raises(InputError, match="--optimizer"):
        convert(path, output, optimizer_file=str(tmp_path / "state.npz"))
    with pytest.raises(InputError, match="--vocabulary: a Swin Transformer backbone has no vocabulary"):
        convert(path, output, vocabulary_file=path)


def test_a_swin_transformer_of_other_windows(swin_state, write_torch, tmp_path):
    output = str(tmp_path / "swin.keras")
    convert(write_torch({"model": swin_state}, "swin.pth"), output)
    model = MaskRIS(dataclasses.replace(SMALL, swin=dataclasses.replace(SWIN, window=4)))
    load_backbone(model, output)
    table = model.get_backbone().get_layer("layers.0.blocks.0").attn.relative_position_bias_table
    stored = swin_state["layers.0.blocks.0.attn.relative_position_bias_table"]
    assert table.shape == (49, 2) and stored.shape == (25, 2)
    # The centre of the square is a fixed point of the resizing.
    np.testing.assert_allclose(table[24], stored[12], rtol=1e-6)


def test_a_swin_transformer_of_another_width(swin_state, maskris_model, write_torch, tmp_path):
    output = str(tmp_path / "swin.keras")
    convert(write_torch({"model": swin_state}, "swin.pth"), output)
    wider = MaskRIS(dataclasses.replace(SMALL, swin=dataclasses.replace(SWIN, width=16)))
    with pytest.raises(
        InputError, match=r"swin.keras: its sizes are SwinConfig\(width=8.*, expected SwinConfig\(width=16"
    ):
        load_backbone(wider, output)
    with pytest.raises(InputError, match=r"expected a MaskRIS model, found a Swin Transformer backbone, which"):
        load_model(output, MaskRIS)
    save_model(maskris_model, tmp_path / "maskris.keras")
    with pytest.raises(
        InputError, match="expected a Swin Transformer backbone, found a MaskRIS model, which goes with"
    ):
        load_backbone(maskris_model, tmp_path / "maskris.keras")


def old_names(state: dict) -> dict:
    """The names of norms in old files."""
    renames = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    for new, old in renames:
        state = {name.replace(new, old): value for name, value in state.items()}
    return state


def test_a_bert(bert_state, write_torch, tmp_path):
    """As `pytorch_model.bin` with old names, and as safetensors without the prefix."""
    paths = [write_torch(old_names(bert_state), "pytorch_model.bin"), str(tmp_path / "model.safetensors")]
    bare = {
        name.removeprefix("bert."): ("I64" if value.dtype == np.int64 else "F32", value)
        for name, value in bert_state.items()
        if "cls" not in name
    }
    (tmp_path / "model.safetensors").write_bytes(safetensors_file(bare))
    for path, ignored in zip(paths, (4, 2), strict=True):
        output = str(tmp_path / "bert.keras")
        report = convert(path, output)
        assert report["model"] == "bert" and report["config"] == BERT.to_dict() and report["assumed"] == ["heads"]
        assert len(report["ignored"]) == ignored
        model = MaskRIS(SMALL)
        load_bert(model, output)
        weights = {variable.path: variable for variable in model.expression_decoder.get_layer("lang_encoder").variables}
        for pair in bert_pairs(BERT):
            value = bert_state[pair.torch]
            np.testing.assert_array_equal(weights[pair.keras], value.T if pair.transform == "linear" else value)


def test_a_bert_for_another_model(bert_state, write_torch, tmp_path):
    output = str(tmp_path / "bert.keras")
    convert(write_torch(bert_state, "bert.bin"), output)
    longer = dataclasses.replace(SMALL, bert=dataclasses.replace(BERT, layers=3))
    with pytest.raises(InputError, match=r"bert.keras: its sizes are BertConfig.*layers=2.*expected.*layers=3"):
        load_bert(MaskRIS(longer), output)
    with pytest.raises(InputError, match="--bert: a CMPC model has no BERT"):
        load_bert(argparse.Namespace(title="a CMPC model", expression_decoder=argparse.Namespace(layers=[])), output)
    with pytest.raises(InputError, match=r"a BERT language encoder, which goes with `python -m cmpc_tf2 train --bert`"):
        load_model(output, SwinTransformer)


def test_a_bert_with_both_names_of_a_norm(bert_state, write_torch, tmp_path):
    state = bert_state | {"bert.embeddings.LayerNorm.gamma": np.zeros(64, np.float32)}
    with pytest.raises(InputError, match=r"has two tensors for 'bert\.embeddings\.LayerNorm\.weight'"):
        convert(write_torch(state), str(tmp_path / "out.keras"))
    assert not (tmp_path / "out.keras").exists()
