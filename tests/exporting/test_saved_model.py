import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cmpc_tf2 import model_files
from cmpc_tf2.cli import main
from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.exporting import checks, writing
from cmpc_tf2.exporting.exported_model import ExportedModel
from cmpc_tf2.exporting.model_card import write_card
from cmpc_tf2.inference.predictor import Predictor
from cmpc_tf2.models.cmpc.model import CMPC
from small import SMALL


@pytest.fixture(scope="module")
def exported(cheap_model_file, tmp_path_factory):
    """The folder that the command `export` writes."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # A relative path, as users give.
        assert main(["export", "--model", str(cheap_model_file), "--output", "exported"]) == 0
    return folder / "exported"


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """A JPEG file of soft random colours."""
    small = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("photograph") / "p.jpg"
    Image.fromarray(small).resize((90, 60), Image.Resampling.BICUBIC).save(path, quality=95)
    return path


def test_tensors_give_the_models_logits(signatures, cheap_model, rng):
    image = rng.uniform(-120, 120, size=(3, 32, 32, 3)).astype("float32")
    token_ids = np.array([[0] * 18 + [5, 7], [0] * 17 + [4, 6, 8], [0] * 19 + [9]], "int32")
    tensors = signatures["tensors"]
    logits = tensors(image=tf.constant(image), token_ids=tf.constant(token_ids))["mask_logits"]
    np.testing.assert_allclose(logits, cheap_model({"image": image, "token_ids": token_ids})["mask_logits"], atol=1e-4)
    one_image = tensors(image=tf.constant(image[:1]), token_ids=tf.constant(token_ids))["mask_logits"]
    np.testing.assert_allclose(one_image[0], logits[0], atol=1e-4)


def test_raw_pictures_and_sentences_give_the_predictors_masks(signatures, cheap_model, photograph):
    """At most 0.1% of the pixels differ."""
    predictor = Predictor(cheap_model)
    predictor.set_image(read_image(photograph))
    picture = {"image_bytes": tf.constant(photograph.read_bytes())}
    sentences = ["the red circle", "Man, left of the SQUARE."]
    encoded = signatures["encode_image"](**picture)
    several = signatures["decode_expression"](**encoded, expressions=tf.constant(sentences))
    for number, sentence in enumerate(sentences):
        expected = predictor.predict(sentence)
        found = signatures["serving_default"](**picture, expression=tf.constant(sentence))
        assert found["mask"].dtype == tf.uint8 and found["mask"].shape == (60, 90)
        np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=2e-3)
        assert (np.asarray(found["mask"], bool) != expected.mask).mean() <= 0.001
        for name, value in found.items():
            np.testing.assert_allclose(several[name][number], value, atol=1e-5)
        inside = expected.probabilities[expected.mask]
        assert float(found["score"]) == pytest.approx(inside.mean() if inside.size else 0, abs=2e-3)


def test_unusable_inputs_are_errors(signatures, photograph):
    serve, bytes_of = signatures["serving_default"], photograph.read_bytes()
    for image_bytes, sentence in ((b"nothing", "man"), (bytes_of[:100], "man"), (bytes_of, "."), (bytes_of, "")):
        with pytest.raises(tf.errors.InvalidArgumentError):
            serve(image_bytes=tf.constant(image_bytes), expression=tf.constant(sentence))


def test_the_folder_describes_its_signatures(exported, cheap_model_file):
    described = json.loads((exported / "signature.json").read_text())
    assert set(described) == {"tensors", "serving_default", "encode_image", "decode_expression"}
    assert described["serving_default"]["inputs"] == {
        "expression": {"dtype": "string", "shape": []},
        "image_bytes": {"dtype": "string", "shape": []},
    }
    assert described["serving_default"]["outputs"]["mask"] == {"dtype": "uint8", "shape": [None, None]}
    assert cheap_model_file.name in (exported / "README.md").read_text()


def test_the_exported_model_runs_without_this_package(exported, photograph, tmp_path):
    """It runs from another folder and process, as the model card shows."""
    script = tmp_path / "use.py"
    script.write_text(
        "import sys, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "found = model.signatures['serving_default'](image_bytes=tf.constant(open(sys.argv[2], 'rb').read()), "
        "expression=tf.constant('the man'))\n"
        "print(found['mask'].shape, 'cmpc_tf2' in sys.modules)\n"
    )
    command = [sys.executable, "-I", str(script), str(exported), str(photograph)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout.splitlines()[-1:] == ["(60, 90) False"], result.stderr


def test_a_folder_is_not_replaced(exported, cheap_model_file, capsys):
    assert main(["export", "--model", str(cheap_model_file), "--output", str(exported)]) == 1
    assert "already exists; give the name of a new folder" in capsys.readouterr().err


@pytest.mark.parametrize("difference, words", [(1.0, "its results differ by 1.0e+00"), (np.nan, "differ by nan")])
def test_a_model_that_differs_is_not_written(difference, words, small_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(model_files, "load_model", lambda *_: small_model)
    monkeypatch.setattr(writing, "compare_saved_model", lambda model, folder: difference)
    monkeypatch.setattr(writing, "write_saved_model", lambda model, folder: None)
    assert main(["export", "--model", "small.keras", "--output", str(tmp_path / "exported")]) == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_nan_in_any_result_counts_as_a_difference(small_model, tmp_path, monkeypatch):
    zeros = {"tensors/mask_logits": np.zeros(3), "serving_default/probabilities": np.zeros(3)}
    for broken in zeros:
        found = {**zeros, broken: np.array([0, np.nan, 0])}
        np.savez(tmp_path / "found.npz", **found)
        monkeypatch.setattr(checks, "_inputs_and_results", lambda model: ({}, zeros))
        monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, "", ""))
        assert not checks.compare_saved_model(small_model, tmp_path) <= checks.TOLERANCES["float32"]


def test_without_a_vocabulary_only_tensors_are_exported(cheap_model_file):
    model = CMPC(SMALL)
    assert set(ExportedModel(model).signatures()) == {"tensors"}
    assert 'model.signatures["tensors"]' in write_card(model, cheap_model_file, "exported")
