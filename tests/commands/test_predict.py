import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import cmpc_tf2
from cmpc_tf2.cli import main
from cmpc_tf2.commands.predict import warn_of_lost_words
from cmpc_tf2.data.image_files import read_image, read_mask
from cmpc_tf2.text.tokenizers import WordTokenizer
from pictures import DAMAGED_METADATA, HEIGHT, WIDTH
from small import WORDS


@pytest.fixture(scope="module")
def predictor(small_model):
    return cmpc_tf2.Predictor(small_model)


@pytest.fixture
def picture(tmp_path, rng):
    path = tmp_path / "picture.jpg"
    Image.fromarray(rng.integers(0, 256, size=(45, 70, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def arguments(small_model_file, picture, tmp_path):
    return [
        "predict", "--model", str(small_model_file), "--image", str(picture),
        "--output", str(tmp_path / "out.png"),
    ]  # fmt: skip


def test_command_writes_overlay_and_masks(arguments, predictor, picture, tmp_path, capsys):
    masks = tmp_path / "mask.png"
    more = ["--expression", "red circle", "--expression", "the man", "--mask", str(masks)]
    assert main([*arguments, *more]) == 0
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["mask_1.png", "mask_2.png", "out.png"]
    overlay = read_image(tmp_path / "out.png")
    assert overlay.shape[0] > 45 and overlay.shape[1] == 70  # The expressions stand below.
    predictor.set_image(read_image(picture))
    for number, expression in ((1, "red circle"), (2, "the man")):
        mask = read_image(tmp_path / f"mask_{number}.png")[..., 0]
        np.testing.assert_array_equal(mask, predictor.predict(expression).mask * 255)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("red circle: ") and out[0].endswith("% of the picture")
    assert out[2] == str(tmp_path / "out.png")


@pytest.mark.usefixtures("eagerly")
def test_json(arguments, tmp_path, capsys):
    mask = tmp_path / "mask.png"
    assert main([*arguments, "--expression", "the man", "--mask", str(mask), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] == str(tmp_path / "out.png") and found["masks"] == [str(mask)]
    (result,) = found["results"]
    assert result["expression"] == "the man" and result["size"] == [45, 70]
    np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), read_mask(mask))


def test_command_turns_the_picture_upright(arguments, picture, tmp_path):
    """The orientation is read even if the rest of the metadata is damaged."""
    picture.write_bytes(DAMAGED_METADATA["jpeg number for text"][0])
    assert main([*arguments, "--expression", "man", "--mask", str(tmp_path / "mask.png")]) == 0
    assert read_image(tmp_path / "mask.png").shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize(
    "change, words",
    [
        (["--expression", ""], "expression '': has no words"),
        (["--expression", "."], "expression '.': has no words"),
        (["--image", "none.jpg"], "none.jpg: no such image"),
        (["--image", __file__], "test_predict.py: not a readable image"),
        (["--model", __file__], "expected a .keras file"),
        (["--output", "nowhere/out.png"], "the folder nowhere does not exist"),
        (["--output", "out.docx"], "out.docx: expected a name that ends in .png or .jpg"),
        (["--vocabulary", "none.txt"], "none.txt: no such vocabulary"),
    ],
)
def test_wrong_arguments_get_one_line(change, words, arguments, tmp_path, capsys):
    assert main([*arguments, "--expression", "man", *change]) == 1
    error = capsys.readouterr().err
    assert "error: " in error and words in error
    assert not (tmp_path / "out.png").exists()


def test_the_mask_must_not_overwrite_the_overlay(arguments, tmp_path, capsys):
    assert main([*arguments, "--expression", "man", "--mask", str(tmp_path / "out.png")]) == 1
    assert "out.png: stands for two files" in capsys.readouterr().err


def test_nothing_is_written_if_a_mask_cannot_be(arguments, tmp_path, capsys):
    (tmp_path / "mask_2.png").mkdir()
    more = ["--expression", "man", "--expression", "red man", "--mask", str(tmp_path / "mask.png")]
    assert main([*arguments, *more]) == 1
    assert "mask_2.png: is not a file" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["mask_2.png"]
    assert main([*arguments, "--expression", "man", "--mask", str(tmp_path / "mask.jpg")]) == 1
    assert "expected a name that ends in .png" in capsys.readouterr().err


def test_the_picture_is_not_overwritten(arguments, picture, capsys):
    content = picture.read_bytes()
    assert main([*arguments, "--expression", "man", "--output", str(picture)]) == 1
    assert "stands for two files" in capsys.readouterr().err
    assert picture.read_bytes() == content


def test_lost_words_are_reported(arguments, capsys):
    expressions = ["--expression", "\U0001f436 собака", "--expression", "red " * 30, "--expression", "caf\udce9 man"]
    assert main([*arguments, *expressions]) == 0
    error = capsys.readouterr().err
    assert error.count("knows none of its words") == 1
    assert "only the first 20 of its 30 words count" in error


def test_a_model_with_fewer_words_loses_more_of_them(caplog):
    for max_words, lost in ((8, 0), (5, 1)):
        warn_of_lost_words("red " * 8, WordTokenizer(WORDS, max_words), "m.keras")
        assert caplog.text.count("only the first 5 of its 8 words count") == lost
