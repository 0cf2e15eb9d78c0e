"""The commands with CMPC-V on I3D, at tiny sizes."""

import json

import numpy as np
import pytest

from a2d_layout import WORDS, make_a2d
from cmpc_tf2.backbones.config import DeepLabResNetConfig, I3DConfig
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.backbones.i3d import InceptionI3D
from cmpc_tf2.model_files import load_model
from cmpc_video_tf2 import build_batches
from cmpc_video_tf2.cli import main
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from small import SMALL

QUERIES = [("v", 0, "the man jumping"), ("test", 1, "the cat"), ("test", 0, "the man")]
SIZES = {**SMALL.to_dict(), "vocabulary_size": len(WORDS), "backbone": {"width": 8}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of 16 frames, of five in `five/`, sizes, and a backbone."""
    root = tmp_path_factory.mktemp("a2d")
    arguments = make_a2d(root, {"v": 12, "test": 12}, QUERIES, annotated=(9,))
    (root / "five").mkdir()
    for split in ("train", "test"):
        build = ["-d", "a2d", "-t", split, "--image-size", "32", *arguments]
        assert build_batches.main([*build, "--all-frames"]) == 0
        assert build_batches.main([*build, "--output-root", str(root / "five")]) == 0
    (root / "sizes.json").write_text(json.dumps(SIZES))
    InceptionI3D(I3DConfig(width=8), name="backbone").save(root / "i3d.keras")
    return root


@pytest.fixture(scope="module")
def train(data, tmp_path_factory, eager):
    def run(name: str, *more, root=data) -> int:
        arguments = [
            "train", "-d", "a2d", "-t", "train", "--batch-root", str(root), "--output-dir", str(data / name),
            "--sizes", str(data / "sizes.json"), "--vocabulary", str(data / "words.txt"), "-bs", "1", "--steps", "2",
            "--backbone-type", "i3d", *more,
        ]  # fmt: skip
        with eager():
            return main(arguments)

    return run


@pytest.fixture(scope="module")
def model_file(data, train):
    assert train("run", "--backbone", str(data / "i3d.keras"), "--finetune-backbone") == 0
    return data / "run" / "last.keras"


def test_a_run_trains_the_blocks_of_its_backbone(data, model_file):
    model = load_model(model_file, CMPCVideo)
    assert model.config.backbone_type == "i3d" and model.config.frames == tuple(range(16))
    before = {variable.path: np.asarray(variable) for variable in load_model(data / "i3d.keras").variables}
    moved = {
        variable.path
        for variable in model.get_backbone().variables
        if (before[variable.path] != variable.numpy()).any()
    }
    assert moved and all(path.startswith("Mixed_") and path.endswith("/kernel") for path in moved)


@pytest.mark.usefixtures("eagerly")
def test_evaluate_and_predict_agree(data, model_file, tmp_path, capsys):
    report = tmp_path / "report.json"
    batches = ["-d", "a2d", "-t", "test", "--batch-root", str(data), "--report", str(report)]
    assert main(["evaluate", "--model", str(model_file), *batches]) == 0
    cat = next(one for one in json.loads(report.read_bytes())["per_sample"] if one["expression"] == "the cat")
    video = data / "a2d_sentences" / "Release" / "frames" / "test"
    options = ["--expression", "the cat", "--every", "8", "--output", str(tmp_path / "out")]
    assert main(["predict", "--model", str(model_file), "--video", str(video), *options]) == 0
    from cmpc_tf2.data.image_files import read_mask

    mask = read_mask(tmp_path / "out" / "masks" / "00009.png")
    target = np.zeros((24, 40), bool)
    target[12:, 20:] = True
    assert abs(int((mask & target).sum()) - cat["own_size_intersection"]) <= 2


def test_files_of_five_frames_are_refused(data, train, model_file, capsys):
    five = data / "five"
    batches = ["-d", "a2d", "-t", "test", "--batch-root", str(five)]
    for split, run in (
        ("train", lambda: train("refused", root=five)),
        ("test", lambda: main(["evaluate", "--model", str(model_file), *batches])),
    ):
        assert run() == 1
        error = capsys.readouterr().err
        command = (
            f"python -m cmpc_video_tf2.build_batches -d a2d_sent_new -t {split} --image-size 32 --all-frames "
            f"--output-root {five} --overwrite"
        )
        assert "0.npz: holds 5 frames of the clip, but the model reads 16; build it again with " in error
        assert f"`{command}`\n" in error and error.count("\n") == 1


def test_a_missing_split_is_named_with_the_command(data, train, tmp_path, capsys):
    assert train("missing", root=tmp_path) == 1
    error = capsys.readouterr().err
    assert "no batches of a2d_sent_new train; make them with `" in error and " --image-size 32 --all-frames`" in error


def test_a_backbone_of_the_other_kind_is_refused(data, train, tmp_path, capsys):
    DeepLabResNet(DeepLabResNetConfig(width=2, depths=(1, 1, 1, 1)), name="backbone").save(tmp_path / "deeplab.keras")
    assert train("other", "--backbone", str(tmp_path / "deeplab.keras")) == 1
    assert "deeplab.keras: expected an I3D backbone, found a DeepLab-ResNet backbone" in capsys.readouterr().err
    InceptionI3D(I3DConfig(width=16), name="backbone").save(tmp_path / "wide.keras")
    assert train("wide", "--backbone", str(tmp_path / "wide.keras")) == 1
    assert "its sizes are I3DConfig(width=16), expected I3DConfig(width=8)" in capsys.readouterr().err


def test_sizes_of_the_other_backbone_are_refused(data, train, tmp_path, capsys):
    (tmp_path / "sizes.json").write_text(json.dumps({**SIZES, "backbone": {"width": 8, "depths": [1, 1, 1, 1]}}))
    assert train("sizes", "--sizes", str(tmp_path / "sizes.json")) == 1
    assert "sizes.json: backbone.depths: unknown name; expected some of width" in capsys.readouterr().err
    assert train("model", "--model", str(data / "i3d.keras")) == 2
    assert "--model brings backbone" in capsys.readouterr().err


@pytest.mark.usefixtures("eagerly")
def test_the_server_segments_a_clip(model_file):
    from cmpc_video_tf2.predictor import VideoPredictor

    predictor = VideoPredictor(load_model(model_file, CMPCVideo))
    clip = np.random.default_rng(0).integers(0, 256, (16, 30, 40, 3), dtype=np.uint8)
    predictor.set_clip(clip)
    explanation = predictor.explain("the man jumping")
    assert explanation.prediction.mask.shape == (30, 40)
    assert {*explanation.similarity} == {"entities", "relations", "actions"}
    before = explanation.prediction.probabilities
    clip[1] = 255 - clip[1]  # A frame that R2D does not read.
    predictor.set_clip(clip)
    assert (predictor.predict("the man jumping").probabilities != before).any()


@pytest.mark.slow
def test_export_runs_by_itself(model_file, tmp_path):
    assert main(["export", "--model", str(model_file), "--output", str(tmp_path / "saved")]) == 0
