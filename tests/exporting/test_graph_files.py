"""Models as one file for ONNX Runtime and LiteRT."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from tensorflow.lite.python.conversion_metadata_schema_py_generated import ModelOptimizationMode
from tensorflow.lite.python.util import get_conversion_metadata

from cmpc_tf2 import model_files
from cmpc_tf2.cli import main
from cmpc_tf2.exporting import checks
from cmpc_tf2.exporting.exported_model import ExportedModel
from cmpc_tf2.exporting.graph_files import FORMATS, GraphFormat
from cmpc_tf2.exporting.writing import export_file
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from small import SMALL

WRITERS = [(kind, weights) for kind, one in FORMATS.items() for weights in one.writers]
# Largest differences of the logits of small models, whose weights are random.
LARGEST = {"float32": 1e-4, "int8": 0.01}


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_one_file_for_other_runtimes(kind, small_model, small_model_file, tmp_path, capsys):
    """Three inputs with other numbers of pictures and sentences than those that the command checks."""
    pytest.importorskip(FORMATS[kind].needs[0])
    path = tmp_path / f"small.{kind}"
    assert main(["export", "--model", str(small_model_file), "--format", kind, "--output", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 <= result.pop("largest_difference") <= 1e-4
    assert result == {"output": str(path), "format": kind, "weights": "float32", "signatures": ["tensors"]}
    assert list(tmp_path.iterdir()) == [path]
    run = FORMATS[kind].load(path)
    rng = np.random.default_rng(7)
    for pictures, sentences in ((1, 1), (3, 3), (1, 5)):
        image = rng.uniform(-120, 120, size=(pictures, 32, 32, 3)).astype(np.float32)
        token_ids = np.sort(rng.integers(0, 12, size=(sentences, 20)), axis=1).astype(np.int32)
        features = small_model.image_encoder(image)
        inputs = {**features, "token_ids": keras.ops.convert_to_tensor(token_ids)}
        expected = small_model.expression_decoder(inputs)["mask_logits"]
        found = run({"image": image, "token_ids": token_ids})
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_weights_in_int8(small_model, small_model_file, tmp_path, capsys):
    """The difference is reported and larger than a float32 file may have; the file says how it was made."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    path = tmp_path / "small.tflite"
    command = ["export", "--model", str(small_model_file), "--format", "tflite", "--weights", "int8", "--json"]
    assert main([*command, "--output", str(path)]) == 0
    result = json.loads(capsys.readouterr().out)
    difference = result.pop("largest_difference")
    assert result == {"output": str(path), "format": "tflite", "weights": "int8", "signatures": ["tensors"]}
    inputs = {"image": small_model.preprocessing.normalize(np.zeros((1, 32, 32, 3), np.uint8))}
    inputs["token_ids"] = np.array([[0] * 17 + [4, 5, 7]], np.int32)
    expected = keras.ops.convert_to_numpy(small_model(inputs)["mask_logits"])
    assert checks.TOLERANCES["float32"] < difference < 0.1 * np.ptp(expected)
    found = FORMATS["tflite"].load(path)(inputs)
    np.testing.assert_allclose(found, expected, atol=0.1 * np.ptp(expected))
    assert get_conversion_metadata(path.read_bytes()).options.modelOptimizationModes == [
        ModelOptimizationMode.PTQ_DYNAMIC_RANGE
    ]
    details = interpreter.Interpreter(model_path=str(path)).get_tensor_details()
    quantized = [one for one in details if one["dtype"] == np.int8]
    assert quantized and all(np.prod(one["shape"]) >= 1024 for one in quantized)


@pytest.mark.parametrize("other", ["saved_model", "onnx"])
def test_formats_without_int8_are_refused(other, tmp_path, capsys):
    command = ["export", "--model", "small.keras", "--format", other, "--weights", "int8"]
    assert main([*command, "--output", str(tmp_path / "small")]) == 2
    assert f"--weights int8: expected --format tflite, received {other}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind, weights", WRITERS)
def test_maskris_in_one_file(kind, weights, small_maskris, tmp_path):
    """Shifted windows, GELU and deformable attention."""
    pytest.importorskip(FORMATS[kind].needs[0])
    difference = export_file(small_maskris, tmp_path / f"maskris.{kind}", kind, FORMATS[kind], weights)
    assert difference <= LARGEST[weights]


@pytest.mark.slow
@pytest.mark.parametrize("kind, weights", WRITERS)
def test_a_clip_model_in_one_file(kind, weights, tmp_path):
    pytest.importorskip(FORMATS[kind].needs[0])
    keras.utils.set_random_seed(0)
    model = CMPCVideo(CMPCVideoConfig(**SMALL.to_dict()))
    path = tmp_path / f"clip.{kind}"
    FORMATS[kind].writers[weights](ExportedModel(model).signatures()["tensors"], path)
    assert checks.compare_file(model, path, FORMATS[kind]) <= LARGEST[weights]


def test_a_file_that_differs_is_not_written(small_model, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("make_sure failure: no node\nof that name")

    monkeypatch.setattr(model_files, "load_model", lambda *_: small_model)
    writers = {"float32": lambda signature, path: path.write_bytes(b"x")}
    wrong = GraphFormat(".onnx", (), writers, lambda path: lambda inputs: np.float32(np.nan))
    monkeypatch.setitem(FORMATS, "onnx", wrong)
    command = ["export", "--model", "small.keras", "--format", "onnx", "--output"]
    assert main([*command, str(tmp_path / "small.onnx")]) == 1
    assert "its results differ by nan from the model's; nothing was written" in capsys.readouterr().err
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(wrong, writers={"int8": writers["float32"]}))
    assert main([*command, str(tmp_path / "small.onnx"), "--weights", "int8"]) == 1
    assert "its results differ by nan from the model's; nothing was written" in capsys.readouterr().err
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(wrong, writers={"int8": fail}))
    assert main([*command, str(tmp_path / "small.onnx"), "--weights", "int8"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert "--format onnx --weights int8 does not support a CMPC model: make_sure" in error
    assert error.endswith("; leave out --weights, or use another --format without it")
    monkeypatch.setitem(FORMATS, "onnx", wrong)
    assert main([*command, str(tmp_path / "small.tflite")]) == 1
    assert "small.tflite: expected a name that ends in .onnx" in capsys.readouterr().err

    unwritable = dataclasses.replace(wrong, writers={"float32": fail})
    for unsupported in (unwritable, dataclasses.replace(wrong, load=lambda path: fail)):
        monkeypatch.setitem(FORMATS, "onnx", unsupported)
        assert main([*command, str(tmp_path / "small.onnx")]) == 1
        (error,) = capsys.readouterr().err.splitlines()
        assert "small.onnx: --format onnx does not support a CMPC model: make_sure" in error
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(wrong, needs=("no_such_package",)))
    assert main([*command, str(tmp_path / "small.onnx")]) == 1
    assert "--format onnx needs no_such_package: `pip install '.[onnx]'`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
