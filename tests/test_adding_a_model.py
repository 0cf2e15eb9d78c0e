"""The example of `docs/adding_a_model.md`, entered as that page says, works with every command."""

import dataclasses
import importlib.util
import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import cmpc_tf2
from cmpc_tf2.cli import main
from cmpc_tf2.recipes import cmpc
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from cmpc_tf2.systems import SYSTEMS, System
from conftest import ROOT
from small import SMALL_ANCESTOR

NAME = "bag_of_words"


@pytest.fixture
def model_type(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "adding_a_model.md").read_text()
    (code,) = re.findall(r"```python\n(\"\"\".*?)```", page, re.DOTALL)
    file = tmp_path / f"{NAME}.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location(NAME, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, module)
    spec.loader.exec_module(module)
    (recipe,) = re.findall(r"```python\nBAG_OF_WORDS = (.*?)```", page, re.DOTALL)
    monkeypatch.setattr(cmpc, "BAG_OF_WORDS", eval(recipe, vars(cmpc)), raising=False)
    (entry,) = re.findall(r"```python\n(System\(.*?\))\n```", page, re.DOTALL)
    system = eval(entry, {"System": System})
    assert system.model == f"cmpc_tf2.models.{NAME}.model:BagOfWords"
    monkeypatch.setitem(SYSTEMS, NAME, dataclasses.replace(system, model=f"{NAME}:BagOfWords"))
    return module.BagOfWords


def test_every_command_accepts_the_example(model_type, squares, tmp_path, capsys):
    run, file = tmp_path / "run", str(tmp_path / "run" / "last.keras")
    (tmp_path / "sizes.json").write_text(json.dumps(SMALL_ANCESTOR.to_dict()))
    data = ["-d", "unc", "--batch-root", str(squares)]
    start = ["--model-name", NAME, "--sizes", str(tmp_path / "sizes.json"), "--vocabulary", str(squares / "words.txt")]
    options = ["--steps", "1", "--validation-split", "val", "-bs", "2"]
    assert main(["train", *data, "-t", "train", "--output-dir", str(run), *start, *options]) == 0
    assert json.loads((run / "config.json").read_text())["model_name"] == NAME
    more = ["--output-dir", str(tmp_path / "other"), "--embeddings", str(tmp_path / "vectors.npy")]
    assert main(["train", *data, "-t", "train", *more, *start]) == 1
    assert "--embeddings: a bag-of-words model takes none" in capsys.readouterr().err
    assert main(["evaluate", "--model", file, *data, "-t", "val"]) == 0

    picture, expressions = tmp_path / "picture.png", ["red square", "square red", "blue square"]
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    asked = [word for expression in expressions for word in ("--expression", expression)]
    assert main(["predict", "--model", file, "--image", str(picture), *asked, "--output", str(tmp_path / "o.png")]) == 0
    predictor = cmpc_tf2.Predictor(cmpc_tf2.load_model(file))
    assert isinstance(cmpc_tf2.load_model(file), model_type)
    segmenter = Segmenter(predictor, predictor.set_image, Limits())
    served = segmenter.submit(lambda: list(segmenter.explain(pixels, expressions)), expressions).result()
    first, reordered, other = (explanation.prediction.probabilities for explanation in served)
    np.testing.assert_allclose(first, reordered, atol=1e-6)  # A bag has no order.
    assert np.abs(first - other).max() > 1e-4

    assert main(["export", "--model", file, "--output", str(tmp_path / "exported")]) == 0
    exported = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    found = exported(image_bytes=tf.constant(picture.read_bytes()), expression=tf.constant(expressions[0]))
    np.testing.assert_allclose(found["probabilities"], first, atol=1e-4)
