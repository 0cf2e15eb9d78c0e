"""The command that builds batches of boxes, on small data sets."""

import functools
import json
import shutil

import numpy as np
import pytest

from cmpc_tf2.conversion.torch_writer import write_torch_file
from cmpc_tf2.data.batches import list_batches, read_batch, read_manifest, split_folder
from cmpc_tf2.data.image_files import read_image, write_image
from cmpc_tf2.data.sample_fields import read_fields
from cmpc_tf2.data.shapes import write_shapes
from cmpc_tf2.preprocessing.letterbox import Letterbox
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.grounding import GroundingTokenizer
from cmpc_video_tf2.data import moving_shapes
from cogrounding_tf2.build_batches import main
from cogrounding_tf2.data import builder
from cogrounding_tf2.data.samples import BoxClipSample, BoxSample
from cogrounding_tf2.data.truths import square_box
from original import GOLDEN
from refer_layout import make_refer

FOLDER = GOLDEN / "cogrounding"


def samples_of(root, dataset, split, kind=BoxSample):
    return [read_batch(path, kind) for path in list_batches(root, dataset, split, kind)]


@pytest.fixture
def refer(tmp_path):
    """Builds a split of three references; returns the arguments."""
    references = [
        {"ref_id": 1, "split": "train", "sentences": ["Left man.", "?"]},
        {"ref_id": 2, "split": "val", "sentences": ["red man"]},
        {"ref_id": 3, "split": "train", "sentences": ["man"], "segmentation": [[90.0, 90, 99, 90, 99, 99]]},
    ]
    options = make_refer(tmp_path, references)
    words = "<pad>\n<go>\n<eos>\n<unk>\nman man\nred\nleft\n"
    (tmp_path / "words.txt").write_text(words, encoding="utf-8")
    return options


def test_pictures_keep_their_size_and_their_bytes(refer, tmp_path, capsys):
    assert main(["-d", "refcoco", "-t", "val", *refer]) == 0
    (sample,) = samples_of(tmp_path, "unc", "val")
    assert sample.file.tobytes() == (tmp_path / "images" / "COCO_train2014_000000000002.jpg").read_bytes()
    assert sample.image.shape == (40, 60, 3) and sample.box.tolist() == [10, 5, 30, 25]
    assert sample.token_ids.tolist() == [5, 4, 2] + [0] * 17
    assert read_fields(split_folder(tmp_path, "unc", "val"), 1) == [{"image_id": 2, "ref_id": 2}]
    assert read_manifest(split_folder(tmp_path, "unc", "val"))["settings"] == {"max_words": 20, "compress": False}
    assert main(["-d", "unc", "-t", "val", "--check", *refer]) == 0
    assert "1 batches, all as the manifest says" in capsys.readouterr().out


def test_samples_that_cannot_be_made_are_counted(refer, tmp_path, capsys):
    assert main(["-d", "unc", "-t", "train", *refer]) == 1
    (sample,) = samples_of(tmp_path, "unc", "train")
    assert sample.expression == "Left man." and sample.token_ids.tolist() == [6, 4, 2] + [0] * 17
    skipped = read_manifest(split_folder(tmp_path, "unc", "train"))["skipped"]
    reasons = [(entry["reference"], entry["reason"]) for entry in skipped]
    assert reasons == [("ref 1", "has no words"), ("ref 3", "its mask has no pixel inside the picture")]
    output = capsys.readouterr()
    assert "1 batches written, 2 samples skipped" in output.out and "error: 2 samples skipped" in output.err
    assert main(["-d", "unc", "-t", "train", "--overwrite", "--skip-errors", *refer]) == 0


def test_missing_and_damaged_pictures_are_named(refer, tmp_path):
    (tmp_path / "images" / "COCO_train2014_000000000001.jpg").unlink()
    (tmp_path / "images" / "COCO_train2014_000000000003.jpg").write_bytes(b"\xff\xd8")
    assert main(["-d", "unc", "-t", "train", *refer]) == 1
    assert not split_folder(tmp_path, "unc", "train").exists()


def test_the_authors_lists(refer, tmp_path):
    name = "COCO_train2014_000000000001.jpg"
    folder = tmp_path / "lists" / "unc"
    folder.mkdir(parents=True)
    entries = [(name, "1.pth", [3.5, 4, 10, 20], "the cat", []), (name, "1.pth", [50, 4, 20, 20], "cat", [])]
    write_torch_file(folder / "unc_val.pth", entries)
    shutil.copy(FOLDER / "cogrounding_corpus.pth", folder / "corpus.pth")
    options = ["--split-root", str(tmp_path / "lists"), "--image-root", str(tmp_path / "images")]
    options += ["--output-root", str(tmp_path / "listed")]
    assert main(["-d", "unc", "-t", "val", *options]) == 1
    (sample,) = samples_of(tmp_path / "listed", "unc", "val")
    assert sample.box.tolist() == [3.5, 4, 13.5, 24] and sample.token_ids[:3].tolist() == [11, 5, 2]
    (skipped,) = read_manifest(split_folder(tmp_path / "listed", "unc", "val"))["skipped"]
    assert skipped["reason"] == "expected a box within its picture of 60 x 40 pixels, found [50, 4, 70, 24]"


@pytest.mark.parametrize("split", ["testA", "testB"])
def test_real_pictures_equal_the_original(split, shared_data, tmp_path, parity):
    """In the original's order: pictures, boxes and token ids."""
    root = shared_data / "refer_mini"
    options = ["--refer-root", str(root), "--image-root", str(root / "images" / "mscoco" / "images" / "train2014")]
    options += ["--vocabulary", str(shared_data / "vocab" / "vocabulary_Gref.txt"), "--output-root", str(tmp_path)]
    assert main(["-d", "unc", "-t", split, *options]) == 0
    expected = json.loads((FOLDER / "cogrounding_refer_mini.json").read_text())[split]
    samples = samples_of(tmp_path, "unc", split)
    assert len(samples) == len(expected)
    for sample, item in zip(samples, expected, strict=True):
        assert sample.expression == item["sentence"] and sample.token_ids.tolist() == item["ids"]
        place = Letterbox.of(*sample.image.shape[:2], 256)
        assert square_box(sample.box, place).tolist() == item["box"]
        x, y, width, height = item["annotated"]
        assert sample.box.tolist() == [x, y, x + width, y + height]
    parity.counted("built samples of RefCOCO: sentences, ids and boxes *", "equal", len(expected))


@pytest.fixture
def vid(tmp_path):
    """The imitated VID set of the goldens; returns the arguments."""
    golden = np.load(FOLDER / "cogrounding_vid.npz")
    for video, count in (("a", 4), ("b", 3)):
        folder = tmp_path / "frames" / video
        folder.mkdir(parents=True)
        for number in range(count):
            write_image(folder / f"{number:06d}.png", golden[f"frame/{video}/{number}"])
            (folder / f"{number:06d}.png").rename(folder / f"{number:06d}.JPEG")
    (tmp_path / "data" / "VID").mkdir(parents=True)
    shutil.copy(FOLDER / "cogrounding_corpus.pth", tmp_path / "data" / "VID" / "corpus.pth")
    for split in ("test", "train"):
        target = tmp_path / "data" / "VID" / f"VID_video_level_{split}.pth"
        shutil.copy(FOLDER / "cogrounding_VID_video_level_test.pth", target)
    roots = {"--data-root": tmp_path / "data", "--image-root": tmp_path, "--output-root": tmp_path}
    return [str(part) for pair in roots.items() for part in pair]


def test_clips_equal_the_original(vid, tmp_path, parity):
    golden = np.load(FOLDER / "cogrounding_vid.npz")
    assert main(["-d", "vid", "-t", "test", *vid]) == 0
    samples = samples_of(tmp_path, "vid", "test", BoxClipSample)
    assert len(samples) == 11 and all(sample.annotated == 2 for sample in samples)
    for number, sample in enumerate(samples):
        place = Letterbox.of(*sample.frames.shape[1:3], 256)
        np.testing.assert_array_equal(square_box(sample.boxes, place), golden[f"item/{number}/boxes"])
        for words in golden[f"item/{number}/words"]:
            np.testing.assert_array_equal(sample.token_ids, words)
        if f"item/{number}/images" in golden:
            fitted = sample.fitted(Preprocessing(256, "letterbox"))
            np.testing.assert_array_equal(fitted, golden[f"item/{number}/images"])
    fields = read_fields(split_folder(tmp_path, "vid", "test"), 11)
    assert [f"cache/tiny/{one['video_id']}/{one['frame_id']}_{n}.pth" for n, one in enumerate(fields)] == (
        golden["cache/files"].tolist()
    )
    parity.counted("built clips of the imitated VID set: frames, boxes, ids *", "equal", 11)


def test_the_frames_of_a_clip_follow_from_the_split(vid, tmp_path):
    assert main(["-d", "vid", "-t", "train", *vid]) == 0
    samples = samples_of(tmp_path, "vid", "train", BoxClipSample)
    assert {len(sample.frames) for sample in samples} == {2} and samples[0].annotated == 1
    assert read_manifest(split_folder(tmp_path, "vid", "train"))["settings"]["frames"] == 2
    assert main(["-d", "vid", "-t", "train", "--frames", "5", "--overwrite", *vid]) == 0
    assert len(samples_of(tmp_path, "vid", "train", BoxClipSample)[0].frames) == 5


def test_missing_frames_of_a_clip(vid, tmp_path):
    (tmp_path / "frames" / "b" / "000002.JPEG").unlink()
    write_image(tmp_path / "frames" / "a" / "000003.png", np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "frames" / "a" / "000003.png").replace(tmp_path / "frames" / "a" / "000003.JPEG")
    assert main(["-d", "vid", "-t", "train", *vid]) == 1
    skipped = read_manifest(split_folder(tmp_path, "vid", "train"))["skipped"]
    assert [entry["reference"] for entry in skipped] == [
        "video 0, frame a/000003", "video 1, frame b/000002", "video 2, frame a/000003",
    ]  # fmt: skip
    assert skipped[0]["reason"] == "expected frames of one size, found [(9, 9), (90, 140)]"
    assert skipped[1]["reason"].endswith("000002.JPEG: no such image (--image-root says where the images are)")


def test_the_boxes_of_shapes_are_those_of_their_pixels(tmp_path, monkeypatch):
    """The data set is drawn on first use."""
    monkeypatch.setattr(builder, "write_shapes", functools.partial(write_shapes, images=4))
    assert main(["-d", "shapes", "-t", "val", "--data-root", str(tmp_path), "--output-root", str(tmp_path)]) == 0
    samples = samples_of(tmp_path, "shapes", "val")
    tokenizer = GroundingTokenizer(GroundingTokenizer.read_words(tmp_path / "vocabulary_shapes.txt"), 20)
    for sample in samples:
        assert all(map(tokenizer.is_known, tokenizer.split(sample.expression)))
        height, width = sample.image.shape[:2]
        x1, y1, x2, y2 = sample.box.astype(int)
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and sample.box.dtype == np.float64
        # The background is grey, all shapes but white ones are colored.
        inside = sample.image[y1:y2, x1:x2].astype(int)
        is_shape = np.ptp(inside, axis=2) > 20
        if is_shape.any():
            for edge in (is_shape[0], is_shape[-1], is_shape[:, 0], is_shape[:, -1]):
                assert edge.any()


def test_moving_shapes_have_a_box_in_every_frame(tmp_path, monkeypatch):
    """The data set is drawn on first use."""
    monkeypatch.setattr(moving_shapes, "VIDEOS", {"train": 2, "test": 1})
    options = ["--data-root", str(tmp_path), "--output-root", str(tmp_path)]
    assert main(["-d", "moving_shapes", "-t", "train", *options]) == 0
    assert main(["-d", "moving_shapes", "-t", "test", *options]) == 0
    samples = samples_of(tmp_path, "moving_shapes", "test", BoxClipSample)
    scene, pixels, sentences = moving_shapes.compose(moving_shapes.SWELLING, 2)
    assert [sample.expression for sample in samples[::3]] == [text for about in sentences for text in about]
    fields = read_fields(split_folder(tmp_path, "moving_shapes", "test"), len(samples))
    assert [one["frame_id"] for one in fields[:3]] == ["00005", "00009", "00011"]
    assert fields[0]["clip"] == [f"video_00002/{number:05d}" for number in range(3, 8)]
    np.testing.assert_array_equal(samples[0].frames, pixels[2:7])
    about = [actor for actor, texts in zip(scene, sentences, strict=True) for _ in texts]
    for sample, field, actor in zip(samples, fields, np.repeat(about, 3), strict=True):
        for box, name in zip(sample.boxes, field["clip"], strict=True):
            shape = actor.at(int(name[-5:]))
            corners = np.array(shape.outline()).reshape(-1, 2)
            expected = [*corners.min(axis=0), *corners.max(axis=0)]
            np.testing.assert_allclose(box, expected, atol=1.01)
    (train, *_) = samples_of(tmp_path, "moving_shapes", "train", BoxClipSample)
    assert len(train.frames) == 2 and train.annotated == 1


def test_workers_change_no_byte(vid, tmp_path):
    contents = []
    for workers in ("1", "2"):
        assert main(["-d", "vid", "-t", "test", "--workers", workers, "--overwrite", *vid]) == 0
        contents.append([path.read_bytes() for path in list_batches(tmp_path, "vid", "test", BoxClipSample)])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["-d", "nope", "-t", "val"], 2, "unknown dataset 'nope'; known: unc"),
        (["-d", "unc", "-t", "test"], 2, "unc has no split 'test'"),
        (["-d", "unc", "-t", "val", "--frames", "2"], 2, "--frames: expected a data set of clips, not unc"),
        (["-d", "vid", "-t", "test", "--refer-root", "x"], 2, "--refer-root: expected a data set of pictures, not vid"),
        (["-d", "Gref", "-t", "val", "--split-root", "x"], 2, "--split-root: expected -d unc or unc+; received Gref"),
        (["-d", "moving_shapes", "-t", "test", "--split-root", "x"], 2, "--split-root: expected -d vid, received"),
        (["-d", "vid", "-t", "test"], 1, "VID_video_level_test.pth: no such list; get it from the authors"),
        (["-d", "unc", "-t", "val"], 1, "refs(unc).p: no such file"),
    ],
)
def test_what_cannot_be_built_is_named(options, status, message, tmp_path, capsys):
    assert main([*options, "--data-root", str(tmp_path), "--output-root", str(tmp_path)]) == status
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_pictures_are_read_as_stored(refer, tmp_path):
    assert main(["-d", "unc", "-t", "val", *refer]) == 0
    (sample,) = samples_of(tmp_path, "unc", "val")
    np.testing.assert_array_equal(sample.image, read_image(tmp_path / "images" / "COCO_train2014_000000000002.jpg"))
