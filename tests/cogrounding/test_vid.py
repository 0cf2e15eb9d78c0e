"""The imitated VID set through the commands: from the authors' list to scores, before and after post-processing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.conversion.pytorch import convert
from cmpc_tf2.data.batches import list_batches
from cmpc_tf2.inference.evaluation import evaluate
from cmpc_tf2.inference.runner import ModelRunner
from cmpc_tf2.model_files import load_model
from cogrounding_original import GOLDEN, read_golden
from cogrounding_tf2 import cli
from cogrounding_tf2.data.samples import BoxClipSample
from cogrounding_tf2.medium import CLIP_BOXES
from cogrounding_tf2.protocol import Candidates, ClipProtocol


@pytest.fixture(scope="module")
def golden():
    return read_golden("vid")


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory) -> Path:
    """Frames, batches and the converted model."""
    root = tmp_path_factory.mktemp("vid")
    for name in (name for name in golden if name.startswith("frame/")):
        _, clip, number = name.split("/")
        path = root / "frames" / clip / f"{int(number):06d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(golden[name]).save(path, "PNG")  # The numbers are of these very pixels.
    words = root / "words.txt"
    words.write_text("".join(f"{word}\n" for word in golden["words"]))
    lists = root / "lists" / "VID"
    lists.mkdir(parents=True)
    for target, source in {"VID_video_level_test.pth": "VID_video_level_test", "corpus.pth": "corpus"}.items():
        (lists / target).write_bytes((GOLDEN / f"cogrounding_{source}.pth").read_bytes())
    options = ["--split-root", str(root / "lists"), "--image-root", str(root / "frames"), "--output-root", str(root)]
    assert cli.main(["build_batches", "-d", "vid", "-t", "test", *options]) == 0
    checkpoint = GOLDEN / "cogrounding_video_tiny.pth.tar"
    convert(str(checkpoint), str(root / "model.keras"), vocabulary_file=str(words))
    return root


def test_scores_of_the_command(folder, golden, parity):
    """Accuracies, and the boxes of every item, before and after post-processing."""
    options = ["--model", str(folder / "model.keras"), "-d", "vid", "-t", "test", "--batch-root", str(folder)]
    report_file, overlays = folder / "report.json", folder / "overlays"
    assert cli.main(["evaluate", *options, "--report", str(report_file), "--overlays", str(overlays)]) == 0
    report = json.loads(report_file.read_text())
    for variant, key in (("plain", "test"), ("postprocessed", "post")):
        prefix = {"plain": "", "postprocessed": "postprocessed_"}[variant]
        ious = [one[f"{prefix}intersection"] / one[f"{prefix}union"] for one in report["per_sample"]]
        parity.within(f"VID, {variant}: IoU of the boxes", ious, golden[f"{key}/iou"], 1e-5)
        accuracy, mean = map(float, str(golden[f"{key}/log"]).split()[1].split(",")[:2])
        assert report[variant]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert report[variant]["mean_iou"] == pytest.approx(mean, abs=1e-5)
    assert len(list(overlays.glob("*.png"))) == 11


def test_what_post_processing_goes_by(folder, golden, parity, monkeypatch):
    """The boxes, confidences and features that the original caches."""
    found: list[Candidates] = []
    score = ClipProtocol.score

    def record(self, *arguments, **options):
        boxes, record = score(self, *arguments, **options)
        found.append(record["candidates"])
        return boxes, record

    monkeypatch.setattr(ClipProtocol, "score", record)
    paths = list_batches(folder, "vid", "test", BoxClipSample)
    evaluate(ModelRunner(load_model(folder / "model.keras")), paths, medium=CLIP_BOXES)
    assert len(found) == 11
    for number, candidates in enumerate(found):
        parity.within("VID, cache: boxes", candidates.boxes, golden["cache/boxes"][number, :, 0], 1e-3)
        parity.within("VID, cache: confidences", candidates.scores, golden["cache/scores"][number], 1e-5)
        parity.within("VID, cache: features", candidates.features, golden["cache/features"][number, :, 0], 1e-5)
        parity.within("VID: truth", candidates.target, golden["test/targets"][number], 1e-4)


def test_predict_and_evaluate_agree(folder, golden):
    """A folder of frames in place of a video."""
    import shutil

    frames = folder / "video"
    frames.mkdir()
    for number in range(4):
        shutil.copy(folder / "frames" / "a" / f"{number:06d}.JPEG", frames / f"{number + 1:05d}.png")
    sentence = str(golden["annotation/sentence"][0])
    options = ["--model", str(folder / "model.keras"), "--video", str(frames), "--every", "1"]
    assert cli.main(["predict", *options, "--expression", sentence, "--output", str(folder / "found")]) == 0
    rows = [json.loads(line) for line in (folder / "found" / "results.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == [1, 2, 3, 4] and {tuple(row["size"]) for row in rows} == {(90, 140)}
    for row, box in zip(rows, golden["test/boxes"][:4], strict=True):
        x, y, width, height = row["bbox"]
        expected = np.clip(box, 0, [140, 90, 140, 90])
        np.testing.assert_allclose([x, y, x + width, y + height], expected, atol=0.02)
