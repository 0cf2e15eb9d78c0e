"""`predict` on folders, glob patterns and lists of pictures."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import cmpc_tf2
from cmpc_tf2.cli import main
from cmpc_tf2.data.image_files import read_image, read_mask
from cmpc_tf2.data.own_annotations import read_own_references
from cmpc_tf2.tasks.masks.prediction import Prediction

pytestmark = pytest.mark.usefixtures("eagerly")

EXPRESSIONS = ["--expression", "red circle", "--expression", "the man"]


@pytest.fixture
def photos(tmp_path, rng, monkeypatch):
    """Three pictures, two of one stem, one in a subfolder; and files that are none."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, size in (("a.jpg", (45, 70, 3)), ("a.png", (31, 22, 3)), ("more/b.JPG", (50, 50, 3))):
        Image.fromarray(rng.integers(0, 256, size=size, dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("none")
    (folder / "._a.jpg").write_bytes(b"none")
    return folder


@pytest.fixture
def predict(small_model_file, tmp_path):
    def run(*options, output="out"):
        return main(["predict", "--model", str(small_model_file), "--output", str(tmp_path / output), *options])

    return run


def records(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_folder(photos, predict, small_model, tmp_path, capsys):
    assert predict("--images", "photos", *EXPRESSIONS) == 0
    found = records(tmp_path / "out")
    assert [(one["image"], one["expression"]) for one in found] == [
        (image, expression)
        for image in ("photos/a.jpg", "photos/a.png", "photos/more/b.JPG")
        for expression in ("red circle", "the man")
    ]
    predictor = cmpc_tf2.Predictor(small_model)
    for one in found:
        image = read_image(tmp_path / one["image"])
        predictor.set_image(image)
        prediction = predictor.predict(one["expression"])
        mask = read_mask(tmp_path / "out" / one["mask_file"])
        assert one["size"] == [*mask.shape] == [*image.shape[:2]]
        assert np.count_nonzero(mask != prediction.mask) <= mask.size / 1000  # Batches round differently.
        np.testing.assert_array_equal(coco_mask.decode(one["segmentation"]), mask)
        assert one["area"] == mask.sum() and one["bbox"] == [*coco_mask.toBbox(one["segmentation"])]
        score = prediction.probabilities[mask].mean() if mask.any() else 0
        assert one["score"] == pytest.approx(score, abs=1e-4)
        assert read_image(tmp_path / "out" / one["overlay_file"]).shape[1] == image.shape[1]
    assert len({one["mask_file"].lower() for one in found}) == 6
    assert len({one["overlay_file"].lower() for one in found}) == 3
    assert {"overlays/a.png", "overlays/a-2.png", "overlays/more/b.png"} == {one["overlay_file"] for one in found}
    empty = sum(one["area"] == 0 for one in found)
    note = f", {empty} of them empty" if empty else ""
    assert capsys.readouterr().out.splitlines() == [f"6 of 6 masks{note}", str(tmp_path / "out" / "results.jsonl")]


def test_empty_masks_are_counted(photos, predict, tmp_path, monkeypatch, capsys):
    """Those of this run, and those of the requests that an earlier run has made."""
    with monkeypatch.context() as patch:
        patch.setattr(Prediction, "scored_mask", lambda self: (np.zeros_like(self.mask), 0.0))
        assert predict("--images", "photos", "--expression", "man") == 0
    assert capsys.readouterr().out.startswith("3 of 3 masks, 3 of them empty\n")
    assert predict("--images", "photos/a.jpg", "photos/a.png", "--expression", "man", "--json") == 0
    assert json.loads(capsys.readouterr().out)["empty"] == 2


def test_a_list_with_fields_of_its_own(photos, predict, tmp_path):
    rows = [
        {"image": "a.jpg", "expression": "red circle", "image_id": 7, "category_id": 1},
        {"image": "more/b.JPG", "image_id": 8, "category_id": 1},
        {"image": "a.jpg", "expression": "the man", "image_id": 7, "category_id": 1},
    ]
    (photos / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert predict("--images", "photos/list.jsonl", "--expression", "man") == 0
    found = records(tmp_path / "out")
    assert [(one["image"], one["expression"], one["image_id"]) for one in found] == [
        ("a.jpg", "red circle", 7), ("a.jpg", "the man", 7), ("more/b.JPG", "man", 8),
    ]  # fmt: skip
    # The results are annotations too.
    references = read_own_references(tmp_path / "out" / "results.jsonl", photos)
    assert [reference.expressions for reference in references] == [("red circle",), ("the man",), ("man",)]
    mask = references[0].draw_mask(45, 70)
    np.testing.assert_array_equal(mask, read_mask(tmp_path / "out" / found[0]["mask_file"]))


def test_a_pattern_and_files_and_another_root(photos, predict, tmp_path):
    (tmp_path / "list.jsonl").write_text('{"image": "more/b.JPG", "expression": "man"}\n')
    sources = ["photos/*.jpg", "photos/a.png", "photos/a.jpg", "list.jsonl"]
    assert predict("--images", *sources, "--image-root", "photos", "--expression", "man") == 0
    assert [one["image"] for one in records(tmp_path / "out")] == ["photos/a.jpg", "photos/a.png", "more/b.JPG"]


def test_a_second_run_makes_what_is_missing(photos, predict, tmp_path, capsys):
    b = photos / "more" / "b.JPG"
    content = b.read_bytes()
    b.write_bytes(content[:100])
    assert predict("--images", "photos", *EXPRESSIONS) == 1
    error = capsys.readouterr().err
    assert "failed: photos/more/b.JPG: " in error
    assert error.splitlines()[-1].startswith("error: 2 of 6 masks could not be made: see the messages above.")
    earlier = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    results = tmp_path / "out" / "results.jsonl"
    # As if killed while it wrote the second line.
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:3]) + '{"image": "photos/a.p')

    b.write_bytes(content)
    assert predict("--images", "photos", *EXPRESSIONS) == 0
    found = records(tmp_path / "out")
    assert len(found) == 6 and len({(one["image"], one["expression"]) for one in found}) == 6
    for path in earlier:
        if path.name in ("a_1.png", "a.png"):
            assert path.stat().st_mtime_ns == earlier[path]
    before = results.read_bytes()
    capsys.readouterr()
    assert predict("--images", "photos", *EXPRESSIONS, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "results": str(results),
        "masks": 6,
        "empty": sum(one["area"] == 0 for one in found),
        "failed": 0,
    }
    assert results.read_bytes() == before
    shutil.rmtree(photos / "more")
    assert predict("--images", "photos", *EXPRESSIONS) == 0


def test_results_below_the_pictures_are_no_pictures(photos, predict, tmp_path):
    for _ in range(2):
        assert predict("--images", "photos", "--expression", "man", output="photos/out") == 0
        assert len(records(photos / "out")) == 3


def test_other_settings_need_another_folder(photos, predict, tmp_path, capsys):
    assert predict("--images", "photos/a.jpg", "--expression", "man") == 0
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert predict("--images", "photos/a.jpg", "--expression", "red man", "--precision", "bfloat16") == 1
    assert "out: holds results of another precision; give the name of a new folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before
    assert predict("--images", "photos/a.jpg", "--expression", "man", output="photos") == 1
    assert "photos: holds other files" in capsys.readouterr().err


def test_an_expression_without_words_fails_alone(photos, predict, tmp_path, capsys):
    assert predict("--images", "photos/a.jpg", "--expression", "man", "--expression", ".") == 1
    assert "failed: photos/a.jpg: expression '.': has no words" in capsys.readouterr().err
    assert [one["expression"] for one in records(tmp_path / "out")] == ["man"]


@pytest.mark.parametrize(
    "options, status, words",
    [
        (["--images", "photos"], 2, "--expression: needed for pictures that are not in a .jsonl list"),
        (["--images", "none", "--expression", "man"], 1, "none: no such file or folder"),
        (["--images", "photos/*.gif", "--expression", "man"], 1, "photos/*.gif: no pictures found"),
        (["--images", "photos", "--expression", " "], 1, "expression ' ': has no words"),
        (["--images", "photos", "--expression", "man", "--mask", "m.png"], 2, "--mask: with --images"),
        (["--image", "photos/a.jpg"], 2, "--expression: needed with --image"),
        (["--images", "empty.jsonl"], 1, "empty.jsonl: holds no rows; expected lines such as"),
        (["--images", "bad.jsonl"], 1, "bad.jsonl, row 2: not readable JSON"),
        (["--images", "bare.jsonl"], 1, "bare.jsonl, row 1: expected text for expression, which is missing"),
    ],
)
def test_wrong_arguments_get_one_line(options, status, words, photos, predict, tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "bad.jsonl").write_text('{"image": "photos/a.jpg", "expression": "man"}\n{"image"\n')
    (tmp_path / "bare.jsonl").write_text('{"image": "photos/a.jpg"}\n')
    assert predict(*options) == status
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
