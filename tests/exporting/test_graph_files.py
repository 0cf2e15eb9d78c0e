"""Models as one file for ONNX Runtime and LiteRT."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from cmpc_tf2 import model_files
from cmpc_tf2.cli import main
from cmpc_tf2.exporting import checks
from cmpc_tf2.exporting.exported_model import ExportedModel
from cmpc_tf2.exporting.graph_files import FORMATS, GraphFormat
from cmpc_tf2.exporting.writing import export_file
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from small import SMALL


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_one_file_for_other_runtimes(kind, small_model, small_model_file, tmp_path, capsys):
    """Three inputs with other numbers of pictures and sentences than those that the command checks."""
    run = FORMATS[kind].run
    pytest.importorskip(FORMATS[kind].needs[0])
    path = tmp_path / f"small.{kind}"
    assert main(["export", "--model", str(small_model_file), "--format", kind, "--output", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 <= result.pop("largest_difference") <= 1e-4
    assert result == {"output": str(path), "format": kind, "signatures": ["tensors"]}
    assert list(tmp_path.iterdir()) == [path]
    rng = np.random.default_rng(7)
    for pictures, sentences in ((1, 1), (3, 3), (1, 5)):
        image = rng.uniform(-120, 120, size=(pictures, 32, 32, 3)).astype(np.float32)
        token_ids = np.sort(rng.integers(0, 12, size=(sentences, 20)), axis=1).astype(np.int32)
        features = small_model.image_encoder(image)
        inputs = {**features, "token_ids": keras.ops.convert_to_tensor(token_ids)}
        expected = small_model.expression_decoder(inputs)["mask_logits"]
        found = run(path, {"image": image, "token_ids": token_ids})
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.slow
def test_maskris_in_one_file(kind, small_maskris, tmp_path):
    """Shifted windows, GELU and deformable attention."""
    pytest.importorskip(FORMATS[kind].needs[0])
    assert export_file(small_maskris, tmp_path / f"maskris.{kind}", kind, FORMATS[kind]) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_clip_model_in_one_file(kind, tmp_path):
    pytest.importorskip(FORMATS[kind].needs[0])
    keras.utils.set_random_seed(0)
    model = CMPCVideo(CMPCVideoConfig(**SMALL.to_dict()))
    path = tmp_path / f"clip.{kind}"
    FORMATS[kind].write(ExportedModel(model).signatures()["tensors"], path)
    assert checks.compare_file(model, path, FORMATS[kind]) <= 1e-4


def test_a_file_that_differs_is_not_written(small_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(model_files, "load_model", lambda *_: small_model)
    wrong = GraphFormat(
        ".onnx", (), lambda signature, path: path.write_bytes(b"x"), lambda path, inputs: np.float32(np.nan)
    )
    monkeypatch.setitem(FORMATS, "onnx", wrong)
    command = ["export", "--model", "small.keras", "--format", "onnx", "--output"]
    assert main([*command, str(tmp_path / "small.onnx")]) == 1
    assert "its results differ by nan from the model's; nothing was written" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "small.tflite")]) == 1
    assert "small.tflite: expected a name that ends in .onnx" in capsys.readouterr().err

    def fail(*_):
        raise ValueError("make_sure failure: no node\nof that name")

    for unsupported in (GraphFormat(".onnx", (), fail, None), dataclasses.replace(wrong, run=fail)):
        monkeypatch.setitem(FORMATS, "onnx", unsupported)
        assert main([*command, str(tmp_path / "small.onnx")]) == 1
        (error,) = capsys.readouterr().err.splitlines()
        assert "small.onnx: --format onnx does not support a CMPC model: make_sure" in error
    monkeypatch.setitem(FORMATS, "onnx", GraphFormat(".onnx", ("no_such_package",), None, None))
    assert main([*command, str(tmp_path / "small.onnx")]) == 1
    assert "--format onnx needs no_such_package: `pip install '.[onnx]'`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
