"""The commands of `python -m cmpc_video_tf2`, at tiny sizes."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from a2d_layout import WORDS, make_a2d
from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.data.image_files import read_image, write_image
from cmpc_tf2.errors import InputError
from cmpc_video_tf2 import build_batches
from cmpc_video_tf2.cli import main
from cmpc_video_tf2.commands import predict
from cmpc_video_tf2.config import CMPCVideoConfig, VideoTrainConfig
from cmpc_video_tf2.data.clips import VideoFile
from cmpc_video_tf2.data.samples import VideoSample
from small import SMALL

SIZES = {**SMALL.to_dict(), "vocabulary_size": len(WORDS)}
QUERIES = [("v", 0, "the man jumping"), ("v", 1, "the cat climbing"), ("test", 1, "the cat"), ("test", 0, "the man")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data root with batches of four train and four test samples of two clips, and sizes."""
    root = tmp_path_factory.mktemp("a2d")
    arguments = make_a2d(root, {"v": 12, "test": 12}, QUERIES, annotated=(1, 9))
    for split in ("train", "test"):
        assert build_batches.main(["-d", "a2d", "-t", split, "--image-size", "32", *arguments]) == 0
    (root / "sizes.json").write_text(json.dumps(SIZES))
    return root


@pytest.fixture(scope="module")
def model_file(data, tmp_path_factory, eager):
    """The model of a run of two steps."""
    folder = tmp_path_factory.mktemp("run") / "run"
    with eager():
        assert main(train_arguments(data, folder, "--steps", "2")) == 0
    return folder / "last.keras"


def train_arguments(data, folder, *more) -> list[str]:
    return [
        "train", "-d", "a2d", "-t", "train", "--batch-root", str(data), "--output-dir", str(folder),
        "--sizes", str(data / "sizes.json"), "--vocabulary", str(data / "words.txt"),
        "-bs", "2", "--checkpoint-every", "2", "--finetune-backbone", *more,
    ]  # fmt: skip


def test_a_run_takes_the_schedule_of_the_video_model(model_file):
    config = json.loads((model_file.parent / "config.json").read_text())
    assert VideoTrainConfig(**config).model == CMPCVideoConfig(**SIZES)
    assert VideoTrainConfig(**config).make_recipe().decay_steps == 400_000
    assert len((model_file.parent / "log.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_weights(data, tmp_path):
    """With validation, whose scores contain the average precision."""
    options = ("--validation-split", "test")
    assert main(train_arguments(data, tmp_path / "whole", "--steps", "4", *options)) == 0
    head = (tmp_path / "whole" / "log.csv").read_text().splitlines()[0]
    assert "val_average_precision" in head and "val_precision_0.95" in head
    assert main(train_arguments(data, tmp_path / "half", "--steps", "2", *options)) == 0
    shutil.copy(tmp_path / "whole" / "config.json", tmp_path / "half")
    assert main(["train", "--output-dir", str(tmp_path / "half"), "--resume"]) == 0
    from cmpc_tf2.model_files import load_model
    from cmpc_video_tf2.models.cmpc_video import CMPCVideo

    whole, resumed = (load_model(tmp_path / name / "last.keras", CMPCVideo) for name in ("whole", "half"))
    for one, other in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


@pytest.mark.usefixtures("eagerly")
def test_evaluate_reports_average_precision(data, model_file, tmp_path, capsys):
    batches = ["-d", "a2d", "-t", "test", "--batch-root", str(data)]
    options = ["--report", str(tmp_path / "r.json"), "--overlays", str(tmp_path / "overlays"), "-c"]
    pytest.importorskip("pydensecrf")
    assert main(["evaluate", "--model", str(model_file), *batches, *options]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["samples"] == 4 and report["dataset"] == "a2d_sent_new"
    for scores in (report["plain"], report["dcrf"]):
        assert list(scores["precision"]) == [f"{x:.2f}".rstrip("0") for x in np.arange(0.5, 0.96, 0.05)]
        assert scores["average_precision"] == pytest.approx(np.mean(list(scores["precision"].values())))
    assert "average precision = " in capsys.readouterr().out
    videos = {record["fields"]["video_id"] for record in report["per_sample"]}
    assert report["bootstrap"]["pictures"] == len(videos)
    low, high = report["own_size"]["intervals"]["average_precision"] or (0, 1)
    assert low <= report["own_size"]["average_precision"] <= high
    assert len(list((tmp_path / "overlays").glob("*.png"))) == 4


@pytest.mark.usefixtures("eagerly")
def test_evaluate_scores_the_annotated_frame(data, model_file):
    """The evaluator's masks are those of the model on the whole clip."""
    from cmpc_tf2.inference.evaluation import evaluate
    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.model_files import load_model
    from cmpc_tf2.preprocessing.resizing import RESIZINGS
    from cmpc_video_tf2.medium import CLIPS
    from cmpc_video_tf2.models.cmpc_video import CMPCVideo
    from small import subtract_mean

    model = load_model(model_file, CMPCVideo)
    paths, found = list_batches(data, "a2d_sent_new", "test"), {}
    evaluate(ModelRunner(model), paths, medium=CLIPS, on_prediction=lambda n, _, mask, iou: found.update({n: mask}))
    for number, path in enumerate(paths):
        sample = read_batch(path, VideoSample)
        inputs = {"clip": subtract_mean(sample.fitted(model.preprocessing))[None], "token_ids": sample.token_ids[None]}
        logits = np.asarray(model(inputs)["mask_logits"])[0, ..., 0]
        differing = (RESIZINGS["fit"].restore_mask(logits >= 1e-9, *sample.mask.shape) != found[number]).sum()
        assert differing <= 2  # A pixel at the threshold may fall to either side.


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_predict_segments_every_nth_frame(kind, data, model_file, tmp_path, capsys):
    video = data / "a2d_sentences" / "Release" / "frames" / "test"
    if kind == "file":
        frames = [read_image(path) for path in sorted(video.iterdir())]
        video = tmp_path / "v.mp4"
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (40, 24))
        for frame in frames:
            writer.write(frame[..., ::-1])
        writer.release()
    options = ["--expression", "the cat", "--expression", "the man", "--every", "5", "--output", str(tmp_path / "out")]
    model = ["--model", str(model_file), "--video", str(video)]
    assert main(["predict", *model, *options]) == 0
    for folder in ("masks_1", "masks_2"):
        names = sorted(path.name for path in (tmp_path / "out" / folder).iterdir())
        assert names == ["00001.png", "00006.png", "00011.png"]
        assert read_image(tmp_path / "out" / folder / "00006.png").shape == (24, 40, 3)
    capture = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    capture.release()
    assert "the cat: " in capsys.readouterr().out
    assert main(["predict", *model, *options]) == 1
    assert "already exists" in capsys.readouterr().err


def test_predict_gives_the_masks_of_the_evaluator(data, model_file, tmp_path):
    """Frame 9, in the clip that the builder made and in the stream of the video."""
    from cmpc_tf2.model_files import load_model
    from cmpc_video_tf2.data.clips import clips_of, open_path
    from cmpc_video_tf2.models.cmpc_video import CMPCVideo
    from cmpc_video_tf2.predictor import VideoPredictor

    samples = [read_batch(path, VideoSample) for path in list_batches(data, "a2d_sent_new", "test")]
    (sample,) = [s for s in samples if s.frame_id == 9 and s.expression == "the cat"]
    predictor = VideoPredictor(load_model(model_file, CMPCVideo))
    with pytest.raises(InputError, match="call set_image"):
        predictor.predict("the cat")
    video = open_path(data / "a2d_sentences" / "Release" / "frames" / "test")
    (clip,) = [frames for number, frames in clips_of(video.frames(), 8) if number == 9]
    np.testing.assert_array_equal(np.stack(clip)[[0, 4, 8, 12, 15]], sample.frames)
    predictor.set_clip(clip)
    prediction = predictor.predict("the cat")
    assert prediction.mask.shape == (24, 40) and prediction.probabilities.dtype == np.float32
    with pytest.raises(InputError, match="expected 16 frames of uint8"):
        predictor.set_clip(clip[:5])


@pytest.mark.usefixtures("eagerly")
def test_an_unreadable_video_leaves_no_output(data, model_file, tmp_path, capsys):
    video = tmp_path / "video"
    shutil.copytree(data / "a2d_sentences" / "Release" / "frames" / "test", video)
    (video / "00007.png").unlink()
    options = ["--expression", "the cat", "--output", str(tmp_path / "out")]
    model = ["--model", str(model_file), "--video"]
    assert main(["predict", *model, str(video), *options]) == 1
    assert "frame 7 of 12 is missing" in capsys.readouterr().err
    write_image(tmp_path / "still.png", np.zeros((8, 8, 3), np.uint8))
    for path, words in ((tmp_path / "none.mp4", "no such video"), (data / "words.txt", "not a video that OpenCV can")):
        assert main(["predict", *model, str(path), *options]) == 1
        assert words in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def predicted(model_file, video, output, *options) -> Path:
    asked = ["--expression", "the cat", "--every", "1", "--output", str(output), *options]
    assert main(["predict", "--model", str(model_file), "--video", str(video), *asked]) == 0
    assert len(list((output / "masks").iterdir())) == 2
    return output


def test_predict_writes_a_video_at_a_rate_that_mp4_takes(model_file, tmp_path):
    video = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 105.611, (64, 48))
    for _ in range(2):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert VideoFile(video).rate == pytest.approx(105.611)
    output = predicted(model_file, video, tmp_path / "out")
    assert VideoFile(output / "overlay.mp4").rate == pytest.approx(105.61)
    assert VideoFile(output / "overlay.mp4").last == 2


@pytest.mark.parametrize("rate", [0.1, 14.985, 23.976, 29.97, 65.5355, 66.667, 105.611, 196.263, 240.067, 1e4 / 7, 1e6])
def test_rates_that_mp4_takes(rate):
    storable = predict.storable_rate(rate)
    assert predict.can_write_video((16, 16, 3), storable)
    assert storable == pytest.approx(min(max(rate, 1), 65_535), rel=1e-4)


@pytest.mark.parametrize("shape", [(9000, 17), (16, 70_000), (1, 1), (15, 17), (8191, 8)])
def test_overlays_have_sides_that_mp4_takes(shape, tmp_path):
    with predict.write_video(tmp_path / "v.mp4", (*shape, 3), 25) as add:
        add(1, np.zeros((*shape, 3), np.uint8))
        add(2, np.zeros((10, 10, 3), np.uint8))  # Of another size.
    frames = list(VideoFile(tmp_path / "v.mp4").frames())
    assert len(frames) == 2 and max(frames[0].shape[:2]) == min(8190, max(shape) + max(shape) % 2)


def test_masks_are_kept_where_no_video_can_be_written(model_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "video").mkdir()
    for number in (1, 2):
        write_image(tmp_path / "video" / f"{number}.png", np.zeros((24, 40, 3), np.uint8))
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda _: False)
    output = predicted(model_file, tmp_path / "video", tmp_path / "out")
    error = capsys.readouterr().err
    assert "OpenCV cannot write an mp4 file of 40 x" in error and "the overlay becomes pictures" in error
    assert sorted(path.name for path in (output / "overlay").iterdir()) == ["00001.png", "00002.png"]
    assert read_image(output / "overlay" / "00002.png").shape[1] == 40
    assert not (output / "overlay.mp4").exists()


@pytest.mark.slow
def test_export_runs_by_itself(model_file, tmp_path):
    assert main(["export", "--model", str(model_file), "--output", str(tmp_path / "saved")]) == 0


def test_models_of_the_other_medium_are_refused(data, model_file, small_model_file, tmp_path, capsys):
    from cmpc_tf2.cli import main as image_main

    batches = ["-d", "a2d", "-t", "test", "--batch-root", str(data)]
    assert main(["evaluate", "--model", str(small_model_file), *batches]) == 1
    assert "found a CMPC model, which goes with `python -m cmpc_tf2`" in capsys.readouterr().err
    saved = ["--output", str(tmp_path / "saved")]
    assert image_main(["export", "--model", str(model_file), *saved]) == 1
    assert "found a CMPC-V (video) model, which goes with `python -m cmpc_video_tf2`" in capsys.readouterr().err
    assert main(["export", "--model", str(small_model_file), *saved]) == 1


def test_the_recipe_for_pictures_is_refused(data, tmp_path, capsys):
    assert main(train_arguments(data, tmp_path / "run", "--recipe", "masked")) == 2
    assert "--recipe: expected one of original for cmpc_video, received 'masked'" in capsys.readouterr().err


@pytest.mark.usefixtures("eagerly")
def test_predict_on_a_real_clip(model_file, shared_data, tmp_path):
    """40 frames of J-HMDB, as the avi file and as pictures."""
    root, name = shared_data / "jhmdb_sentences", "Goal_Keeping_Tips_catch_f_cm_np1_fr_med_2"
    for place in (f"ReCompress_Videos/catch/{name}.avi", f"Rename_Images/catch/{name}"):
        output = tmp_path / place.split("/")[0]
        options = ["--expression", "the man catching", "--every", "20", "--output", str(output)]
        assert main(["predict", "--model", str(model_file), "--video", str(root / place), *options]) == 0
        assert sorted(path.name for path in (output / "masks").iterdir()) == ["00001.png", "00021.png"]
        assert read_image(output / "masks" / "00021.png").shape == (240, 320, 3)
