import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2 import export
from cmpc_tf2.cli import main


def test_an_exported_model_runs_alone(small_model, small_model_file, tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    target = "exported"
    assert main(["export", "--model", str(small_model_file), "--output", target]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: signature `tensors`; largest difference to")
    signature = tf.saved_model.load(target).signatures["tensors"]
    image = rng.uniform(-120, 120, size=(3, 32, 32, 3)).astype("float32")
    token_ids = np.array([[0] * 18 + [5, 7], [0] * 17 + [4, 6, 8], [0] * 19 + [9]], "int32")
    logits = signature(image=tf.constant(image), token_ids=tf.constant(token_ids))["mask_logits"]
    np.testing.assert_allclose(logits, small_model({"image": image, "token_ids": token_ids})["mask_logits"], atol=1e-4)
    one_image = signature(image=tf.constant(image[:1]), token_ids=tf.constant(token_ids))["mask_logits"]
    np.testing.assert_allclose(one_image[0], logits[0], atol=1e-4)

    assert main(["export", "--model", str(small_model_file), "--output", target]) == 1
    assert "is there already; give the name of a new folder" in capsys.readouterr().err


@pytest.mark.parametrize("difference, words", [(1.0, "its logits differ by 1.0e+00"), (np.nan, "differ by nan")])
def test_a_model_that_differs_is_not_written(difference, words, small_model_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "compare", lambda model, folder: difference)
    monkeypatch.setattr(export, "export", lambda model, folder: folder.mkdir())
    assert main(["export", "--model", str(small_model_file), "--output", str(tmp_path / "exported")]) == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
