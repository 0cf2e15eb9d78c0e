"""The commands for boxes, in pictures and clips."""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.cli import main as cmpc
from cmpc_tf2.data import image_builder
from cmpc_tf2.data.shapes import write_shapes
from cmpc_tf2.model_files import load_model, save_model
from cmpc_video_tf2.data.moving_shapes import write_clips
from cogrounding_original import TINY
from cogrounding_tf2.cli import main
from cogrounding_tf2.data import builder
from cogrounding_tf2.predictor import BoxPredictor

SIZES = {"feature_dim": 8, "darknet": {"widths": [2, 4, 4, 6, 6, 8]}}
SPLITS = {"sl_att": ("shapes", "val"), "cg_sl_att": ("moving_shapes", "test")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Few pictures and videos, with boxes and with masks."""
    root = tmp_path_factory.mktemp("boxes")
    data = ["--data-root", str(root / "data")]
    with pytest.MonkeyPatch.context() as patch:
        few = functools.partial(write_shapes, images=6)
        patch.setattr(builder, "write_shapes", few)
        patch.setattr(builder, "write_clips", functools.partial(write_clips, videos={"train": 2, "test": 1}))
        for dataset, test in SPLITS.values():
            for split in ("train", test):
                assert main(["build_batches", "-d", dataset, "-t", split, *data, "--output-root", str(root)]) == 0
        patch.setattr(image_builder, "write_shapes", few, raising=False)
        masks = ["--output-root", str(root / "masks")]
        assert cmpc(["build_batches", "-d", "shapes", "-t", "val", *data, *masks]) == 0
    (root / "sizes.json").write_text(json.dumps(SIZES))
    return root


def train_options(folder: Path, system: str) -> list[str]:
    dataset, _ = SPLITS[system]
    vocabulary = folder / "data" / f"vocabulary_{dataset}.txt"
    return [
        "-d", dataset, "-t", "train", "--batch-root", str(folder), "--vocabulary", str(vocabulary),
        "--sizes", str(folder / "sizes.json"), "-bs", "2", "--checkpoint-every", "1",
    ]  # fmt: skip


@pytest.fixture(scope="module", params=SPLITS)
def run(request, folder, eager) -> tuple[str, Path]:
    """Two steps with the original's recipe; the model follows from the split."""
    system, output = request.param, folder / request.param
    more = ["--steps", "2", "--checkpoint-every", "2", "--validation-split", SPLITS[system][1]]
    options = [*train_options(folder, system), *more]
    with eager():
        assert main(["train", "--output-dir", str(output), *options]) == 0
    return system, output


def test_a_run_is_resumed_to_the_bit(run, folder, tmp_path, eager):
    system, output = run
    config = json.loads((output / "config.json").read_text())
    assert config["model_name"] == system and config["batch_size"] == 2
    header = (output / "log.csv").read_text().splitlines()[0].split(",")
    assert {"accuracy", "detection_loss", "rank_loss", "location_loss", "val_accuracy", "val_mean_iou"} <= set(header)
    options = [*train_options(folder, system), "--decay-steps", "2"]
    with eager():
        assert main(["train", "--output-dir", str(tmp_path / "run"), *options, "--steps", "1"]) == 0
        changed = {**json.loads((tmp_path / "run" / "config.json").read_text()), "steps": 2}
        (tmp_path / "run" / "config.json").write_text(json.dumps(changed))
        assert main(["train", "--output-dir", str(tmp_path / "run"), "--resume"]) == 0
    models = [load_model(path / "last.keras") for path in (output, tmp_path / "run")]
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(first, second)


def test_evaluate(run, folder, tmp_path, eager, capsys):
    system, output = run
    dataset, split = SPLITS[system]
    options = ["--model", str(output / "last.keras"), "-d", dataset, "-t", split, "--batch-root", str(folder)]
    with eager():
        assert (
            main(["evaluate", *options, "--report", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]) == 0
        )
    report = json.loads((tmp_path / "r.json").read_text())
    variants = {"plain", "exact", *(["postprocessed"] if system == "cg_sl_att" else [])}
    assert variants == {name for name in report if isinstance(report[name], dict) and "accuracy" in report[name]}
    out = capsys.readouterr().out
    assert "Box evaluation (boxes as predict gives them, against the annotation):\naccuracy@0.5 = " in out
    text = (tmp_path / "r.html").read_text()
    assert "exact boxes" in text and "Accuracy: share of boxes with an IoU above 0.5." in text
    for record in report["per_sample"]:
        assert 0 <= record["intersection"] <= record["union"] and len(record["box"]) == 4
        assert "candidates" not in record


def test_predict_on_a_picture(run, folder, tmp_path, capsys):
    system, output = run
    picture = sorted((folder / "data" / "shapes" / "images").iterdir())[0]
    options = ["--model", str(output / "last.keras"), "--expression", "the red circle", "--output"]
    status = main(["predict", "--image", str(picture), *options, str(tmp_path / "boxes.png"), "--json"])
    captured = capsys.readouterr()
    if system == "cg_sl_att":
        assert status == 1 and "last.keras: expected an SL-Att. model, found a CG-SL-Att. (video) model" in captured.err
        assert not (tmp_path / "boxes.png").exists()
        return
    assert status == 0
    (found,) = json.loads(captured.out)["results"]
    predictor = BoxPredictor(load_model(output / "last.keras"))
    predictor.set_image(np.asarray(Image.open(picture)))
    assert found == predictor.predict("the red circle").describe("the red circle")
    x, y, width, height = found["bbox"]
    assert min(x, y, width, height) >= 0 and x + width <= found["size"][1] and y + height <= found["size"][0]


def test_boxes_and_masks_side_by_side(folder, small_model, tmp_path, capsys):
    """The model of masks has its own words; the samples are equal."""
    words = (folder / "data" / "vocabulary_shapes.txt").read_text().split()
    keras.utils.set_random_seed(0)
    masks = type(small_model)(
        {**small_model.config.to_dict(), "vocabulary_size": len(words)}, vocabulary=words, name="cmpc"
    )
    save_model(masks, tmp_path / "masks.keras")
    report = tmp_path / "report.json"
    models = ["--boxes", str(folder / "sl_att" / "last.keras"), "--masks", str(tmp_path / "masks.keras")]
    split = ["-d", "shapes", "-t", "val", "--batch-root", str(folder / "masks")]
    assert main(["compare", *models, *split, "--report", str(report)]) == 0
    found = json.loads(report.read_text())
    assert list(found["answers"]) == ["box", "mask", "restricted"] and found["samples"] > 0
    for scores in found["answers"].values():
        assert 0 <= scores["boxes"]["accuracy"] <= 1 and 0 <= scores["masks"]["overall_iou"] <= 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("shapes val: ") and lines[2].startswith(f"box of {models[1]} ")


BAD_INPUT = {
    "another size": (["evaluate", "--image-size", "320"], 2, "--image-size: expected 256: the width of a layer"),
    "boxes where masks are": (["evaluate", "masks"], 1, "not a batch of pictures with boxes: no box_batch, file_batch"),
    "a clip model": (["evaluate", "clips"], 1, "expected an SL-Att. model, found a CG-SL-Att. (video) model"),
    "no words": (["predict", "..."], 1, "expression '...': has no words"),
    "every without a video": (["predict", "--every", "2"], 2, "--every: goes with --video; leave it out"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case, folder, tmp_path, capsys):
    (command, *change), status, message = BAD_INPUT[case]
    models = {"clips": "cg_sl_att"}
    model = str(folder / models.get(change[0], "sl_att") / "last.keras")
    if command == "evaluate":
        root = folder / "masks" if change == ["masks"] else folder
        more = change if change[0].startswith("--") else []
        options = ["--model", model, "-d", "shapes", "-t", "val", "--batch-root", str(root), *more]
    else:
        picture = sorted((folder / "data" / "shapes" / "images").iterdir())[0]
        text = change[0] if not change[0].startswith("--") else "red circle"
        more = change if change[0].startswith("--") else []
        options = ["--model", model, "--image", str(picture), "--expression", text, *more]
        options += ["--output", str(tmp_path / "out.png")]
    assert main([command, *options]) == status
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_options_of_a_run(folder, tmp_path, capsys):
    """What does not go with these models is named."""
    options = train_options(folder, "sl_att")
    bert = tmp_path / "bert.keras"
    bert.write_bytes(b"")
    for more, message in (
        (["--bert", str(bert)], "--bert: an SL-Att. model has no BERT; leave it out"),
        (["--finetune-backbone"], "--finetune-backbone: an SL-Att. model trains its backbone anyway; leave it out"),
    ):
        assert main(["train", "--output-dir", str(tmp_path / "run"), *options, "--steps", "1", *more]) != 0
        assert message in capsys.readouterr().err
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps({**SIZES, "image_size": 320}))
    options[options.index("--sizes") + 1] = str(sizes)
    assert main(["train", "--output-dir", str(tmp_path / "run"), *options]) == 1
    assert "image_size: expected 256: the width of a layer, 1344 = 8² + 16² + 32²" in capsys.readouterr().err
    assert TINY.image_size == 256
