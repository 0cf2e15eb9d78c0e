"""The commands and the code of docs/own_data.md, on small pictures and a small model."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

import build_embeddings
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.cli import main
from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.fields import from_dict
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.cmpc.config import CMPCConfig
from examples import Shell, blocks_of, run_block
from small import CHEAP, SMALL

PAGE = "docs/own_data.md"


@pytest.fixture
def folder(small_model_file, tmp_path, monkeypatch):
    """The files that the document starts from, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/kitchen", "masks", "data", "runs"):
        (tmp_path / name).mkdir(parents=True)
    mask = np.zeros((40, 60), np.uint8)
    mask[5:25, 10:30] = 255
    for name in ("1_cup", "2_dog"):
        Image.fromarray(mask).save(f"masks/{name}.png")
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/kitchen/{number}.jpg")
    rows, _ = [block.text for block in blocks_of(PAGE) if block.language == "json"]
    for split in ("train", "val"):
        (tmp_path / f"{split}.jsonl").write_text(rows)
    vectors = np.random.default_rng(0).normal(size=(2, SMALL.embedding_dim)).round(3)
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in zip(("cup", "dog"), vectors, strict=True)]
    (tmp_path / "glove.6B.300d.txt").write_text("".join(lines))
    (tmp_path / "sizes").mkdir()
    (tmp_path / "sizes" / "cmpc.json").write_text(json.dumps(CHEAP.to_dict()))
    save_model(DeepLabResNet(SMALL.backbone, name="backbone"), "backbone.keras")
    (tmp_path / "cmpc_unc.keras").write_bytes(small_model_file.read_bytes())
    return tmp_path


@pytest.mark.usefixtures("eagerly")
def test_the_document(folder, capsys):
    commands, shell = [command for block in blocks_of(PAGE) for command in block.commands], Shell()
    assert len(commands) == 8
    shell.run(commands[0])
    words = (folder / "data" / "vocabulary_mine.txt").read_text().split()
    assert words == ["<pad>", "<go>", "<eos>", "<unk>", "the", "cup", "dog", "next", "plate", "red", "to"]
    assert build_embeddings.main(shlex.split(commands[1])[2:]) == 1
    assert "vocabulary_mine.txt: already exists; models depend on it" in capsys.readouterr().err
    (folder / "data" / "vocabulary_mine.txt").unlink()
    for command in commands[1:]:
        shell.run(command)
    assert np.load("data/mine_emb.npy").shape == (len(words), SMALL.embedding_dim)
    assert load_model("runs/mine/best.keras").vocabulary == words
    report = json.loads((folder / "mine_val.json").read_text())
    assert report["dataset"] == "mine" and report["samples"] == 3
    assert [record["fields"] for record in report["per_sample"]] == 3 * [{"room": "kitchen"}]
    tuned = read_batch(list_batches(".", "mine_unc", "train")[0])
    assert tuned.token_ids[-3:].tolist() == [4, 5, 3]  # "cup" is unknown to the model.

    assert main(["evaluate", "--model", "runs/mine/best.keras", "-d", "mine", "-t", "testA"]) == 1
    command = "python -m cmpc_tf2 build_batches --annotations FILE --image-root FOLDER -d mine -t testA"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: mine/testA_batch: no batches of mine testA, only train_batch, val_batch; make them with `{command}`"
    )
    assert main(["evaluate", "--model", "runs/mine/best.keras", "-d", "yours", "-t", "val"]) == 2
    assert "unknown dataset 'yours'; known: unc (refcoco)" in (error := capsys.readouterr().err)
    assert "; yours/val_batch holds no batches of your own, which `python" in error


def test_the_sizes_of_the_document_are_those_of_a_model():
    _, sizes = [block.text for block in blocks_of(PAGE) if block.language == "json"]
    config = from_dict(CMPCConfig, json.loads(sizes))
    assert config.image_size == 160 and config.backbone.width == 8


@pytest.mark.usefixtures("eagerly")
def test_the_code_of_the_document(folder):
    (block,) = [block for block in blocks_of(PAGE) if block.language == "python"]
    found = {}
    run_block(block, found)
    assert found["logits"].shape == found["mask"].shape == (2, 32, 32, 1)
