"""The commands and the code of docs/own_data.md, on small pictures and a small model."""

import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

import build_batches
import build_embeddings
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.cli import main
from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.model_files import load_model, save_model
from conftest import ROOT
from small import SMALL

DOCUMENT = ROOT / "docs" / "own_data.md"
COMMANDS = {
    "build_batches.py": build_batches.main,
    "tools/build_embeddings.py": build_embeddings.main,
    "cmpc_tf2": main,
}


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
    (rows,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for split in ("train", "val"):
        (tmp_path / f"{split}.jsonl").write_text(rows)
    vectors = np.random.default_rng(0).normal(size=(2, SMALL.embedding_dim)).round(3)
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in zip(("cup", "dog"), vectors, strict=True)]
    (tmp_path / "glove.6B.300d.txt").write_text("".join(lines))
    (tmp_path / "sizes.json").write_text(json.dumps(SMALL.to_dict()))
    save_model(DeepLabResNet(SMALL.backbone, name="backbone"), "backbone.keras")
    (tmp_path / "cmpc_unc.keras").write_bytes(small_model_file.read_bytes())
    return tmp_path


def run_command(line: str):
    """Runs a command of the document for two steps and at the size of the small model."""
    _, *words = shlex.split(line)
    words = words[1:] if words[0] == "-m" else words
    if "train" in words and words[0] == "build_batches.py":
        words += ["--image-size", str(SMALL.image_size)]
    if words[1] == "train":
        at = words.index("--epochs")
        words[at : at + 2] = ["--steps", "2", "-bs", "2", *([] if "--model" in words else ["--sizes", "sizes.json"])]
    assert COMMANDS[words[0]](words[1:]) == 0, line


@pytest.mark.usefixtures("eagerly")
def test_the_document(folder, capsys):
    text = DOCUMENT.read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("python ")]
    assert len(commands) == 8
    run_command(commands[0])
    words = (folder / "data" / "vocabulary_mine.txt").read_text().split()
    assert words == ["<pad>", "<go>", "<eos>", "<unk>", "the", "cup", "dog", "next", "plate", "red", "to"]
    assert build_embeddings.main(shlex.split(commands[1])[2:]) == 1
    assert "vocabulary_mine.txt: already exists; models depend on it" in capsys.readouterr().err
    (folder / "data" / "vocabulary_mine.txt").unlink()
    for command in commands[1:]:
        run_command(command)
    assert np.load("data/mine_emb.npy").shape == (len(words), SMALL.embedding_dim)
    assert load_model("runs/mine/best.keras").vocabulary == words
    report = json.loads((folder / "mine_val.json").read_text())
    assert report["dataset"] == "mine" and report["samples"] == 3
    assert [record["fields"] for record in report["per_sample"]] == 3 * [{"room": "kitchen"}]
    tuned = read_batch(list_batches(".", "mine_unc", "train")[0])
    assert tuned.token_ids[-3:].tolist() == [4, 5, 3]  # "cup" is unknown to the model.

    assert main(["evaluate", "--model", "runs/mine/best.keras", "-d", "mine", "-t", "testA"]) == 2
    assert "unknown dataset 'mine'; known: unc (refcoco)" in (error := capsys.readouterr().err)
    advice = "`python -m cmpc_tf2 build_batches --annotations FILE --image-root FOLDER -d mine -t testA` makes"
    assert f"; mine/testA_batch holds no batches of your own, which {advice}" in error


@pytest.mark.usefixtures("eagerly")
def test_the_code_of_the_document(folder):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    found = {}
    exec(code, found)
    assert found["logits"].shape == found["mask"].shape == (2, 32, 32, 1)
