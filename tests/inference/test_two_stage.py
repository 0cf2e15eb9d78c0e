"""MAttNet and CAC from pictures and sentences to masks, at small sizes."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import cmpc_tf2
from cmpc_tf2.cli import main
from cmpc_tf2.conversion.pytorch import convert, convert_back
from cmpc_tf2.conversion.torch_reader import read_torch_file
from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.runner import make_runner
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.cac.config import CACConfig
from cmpc_tf2.models.cac.model import CAC
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.models.mattnet.model import MAttNet
from cmpc_tf2.preprocessing.pasting import paste_logits, paste_mask
from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from cmpc_tf2.systems import find_system
from file_layouts import LAYOUTS, layout_of
from http_client import ask, form
from original import weight_by_rule
from pictures import file_of
from reuse import unchanged

DETECTOR = MaskRCNNC4Config(
    {"width": 2, "depths": [1, 1, 1, 1]}, classes=4, rpn_dim=6, mask_dim=5, shorter_side=64, longer_side=100,
    candidates=60, proposals=8,
)  # fmt: skip
WORDS = ["<pad>", "<unk>", "the", "red", "man", "left", "of", "square"]
MATTNET = MAttNetConfig(
    vocabulary_size=len(WORDS), max_words=6, attributes=3, embedding_dim=7, word_dim=5, lstm_units=4, joint_dim=6,
    pool5_dim=DETECTOR.backbone.channels("c4"), fc7_dim=DETECTOR.backbone.channels("c5"), detector=DETECTOR,
)  # fmt: skip
CAC_SIZES = CACConfig(
    vocabulary_size=len(WORDS), max_words=6, embedding_dim=7, word_dim=5, lstm_units=4, detector=DETECTOR
)
SENTENCES = ["the red man", "left of the square", "man"]


@pytest.fixture(scope="module", params=["mattnet", "cac"])
def model(request):
    built = MAttNet(MATTNET, WORDS) if request.param == "mattnet" else CAC(CAC_SIZES, WORDS)
    for weight in built.weights:
        weight.assign(weight_by_rule(weight.path, weight.shape))
    return unchanged(built)


@pytest.fixture(scope="module")
def predictor(model):
    return cmpc_tf2.Predictor(model)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (50, 72, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / f"{model.name}.keras"
    save_model(model, path)
    return path


def test_files_of_earlier_versions_load(model, model_file):
    system = find_system(keras.saving.get_registered_name(type(model)))
    assert layout_of(model, model_file) == LAYOUTS[system.name]


def test_several_sentences_are_answered_as_each_alone(model, image):
    runner = make_runner(model)
    tokenizer = runner.make_tokenizer()
    texts = [tokenizer.encode(sentence)["token_ids"] for sentence in SENTENCES]
    features = runner.encode(image[None])
    together = runner.decode(features, {"token_ids": np.stack(texts)})
    assert together.shape == (3, 50, 72) and together.dtype == np.float32
    for text, logits in zip(texts, together, strict=True):
        np.testing.assert_allclose(runner.decode(features, {"token_ids": text[None]})[0], logits, atol=1e-4)


def test_a_mask_is_that_of_the_best_box(predictor, image, model):
    predictor.set_image(image)
    explanation = predictor.explain("the red man")
    np.testing.assert_array_equal(explanation.prediction.mask, predictor.predict("the red man").mask)
    assert explanation.prediction.mask.shape == (50, 72) and explanation.unknown_words == []
    if isinstance(model, MAttNet):
        scores = [candidate.score for candidate in explanation.candidates]
        assert scores == sorted(scores, reverse=True) and len(scores) >= 1
        for candidate in explanation.candidates:
            assert sum(candidate.parts.values()) == pytest.approx(candidate.score, abs=1e-5)
        assert explanation.candidates[0].label in ("class 1", "class 2", "class 3")
        assert [phrase.aspect for phrase in explanation.phrases] == ["subject", "location", "relationship"]
        assert sum(phrase.share for phrase in explanation.phrases) == pytest.approx(1)
        for phrase in explanation.phrases:
            assert [word for word, _ in phrase.words] == ["the", "red", "man"]
            assert sum(weight for _, weight in phrase.words) == pytest.approx(1, abs=1e-5)
        assert explanation.heat_map("subject").shape == (50, 72)
    else:
        assert explanation.heat_map("response").shape == (50, 72)


def test_unknown_words_alone_have_an_answer(predictor, image):
    predictor.set_image(image)
    explanation = predictor.explain("zebra, zebra")
    assert explanation.unknown_words == ["zebra,", "zebra"] and explanation.prediction.mask.shape == (50, 72)


@pytest.mark.parametrize("size", [(3, 200), (1, 1), (200, 3)])
def test_pictures_of_any_shape(predictor, size):
    predictor.set_image(np.full((*size, 3), 90, np.uint8))
    assert predictor.predict("man").mask.shape == size


def test_logits_are_the_pasted_mask():
    rng = np.random.default_rng(0)
    for box in ([3, 4, 30, 20], [-5, -5, 60, 9], [0, 0, 0, 0]):
        mask, box = rng.random((14, 14), np.float32), np.float32(box)
        expected = paste_mask(mask, box, 40, 50)
        np.testing.assert_array_equal(paste_logits(mask, box, (40, 50)) >= 0, expected)


def test_a_saved_model_gives_the_same(model, model_file, image):
    loaded = load_model(model_file)
    assert type(loaded) is type(model) and loaded.config == model.config and loaded.vocabulary == WORDS
    for found, expected in zip(loaded.weights, model.weights, strict=True):
        assert found.path == expected.path
        np.testing.assert_array_equal(found, expected)
    answers = []
    for one in (model, loaded):
        predictor = cmpc_tf2.Predictor(one)
        predictor.set_image(image)
        answers.append(predictor.predict("the red man").fitted_probabilities)
    np.testing.assert_array_equal(*answers)


def test_one_picture_and_many(model_file, image, tmp_path, capsys):
    options = ["predict", "--model", str(model_file), "--expression", "the red man", "--expression", "man"]
    for name, pixels in {"a": image, "b": image[:30], "c": image[:30, ::-1]}.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.png").write_bytes(file_of_array(pixels))
    masks = tmp_path / "mask.png"
    single = ["--image", str(tmp_path / "in" / "a.png"), "--output", str(tmp_path / "a.png"), "--mask", str(masks)]
    assert main([*options, *single]) == 0
    assert main([*options, "--images", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and {tuple(row["size"]) for row in rows} == {(50, 72), (30, 72)}
    assert main([*options, *single, "--image-size", "320"]) == 2
    assert "--image-size: " in capsys.readouterr().err


def file_of_array(pixels) -> bytes:
    from PIL import Image

    return file_of(Image.fromarray(pixels))


def test_scores_of_a_split(model, model_file, tmp_path, capsys):
    data = ["--data-root", str(tmp_path / "data"), "--output-root", str(tmp_path)]
    split = ["-d", "shapes", "-t", "val", "--batch-root", str(tmp_path)]
    write_small_split(tmp_path)
    report = tmp_path / "report.json"
    assert main(["evaluate", "--model", str(model_file), *split, "--report", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["protocol"] == "original, at the picture's own size" and found["samples"] == 2
    for record in found["per_sample"]:
        names = ("intersection", "union")
        assert [record[name] for name in names] == [record[f"own_size_{name}"] for name in names]
    assert not data[0].startswith("x")


def write_small_split(root):
    from cmpc_tf2.data.batches import Sample, batch_path, write_batch

    rng = np.random.default_rng(3)
    for index in range(2):
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        mask = np.zeros((40, 60), bool)
        mask[5:20, 10:30] = True
        path = batch_path(root, "shapes", "val", index)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_batch(path, Sample(np.arange(20), pixels, mask, "the red man"))


def test_what_cannot_be_done_is_said(model, model_file, tmp_path, capsys):
    target = tmp_path / "saved_model"
    assert main(["export", "--model", str(model_file), "--output", str(target)]) == 1
    assert "pastes masks outside of the graph and cannot be exported; use predict" in capsys.readouterr().err
    write_small_split(tmp_path)
    options = ["-d", "shapes", "-t", "val", "--batch-root", str(tmp_path), "--steps", "1"]
    assert main(["train", "--model", str(model_file), *options, "--output-dir", str(tmp_path / "run")]) != 0
    error = capsys.readouterr().err
    assert "not a batch of pictures with their objects" in error and "Traceback" not in error
    assert not target.exists() and not (tmp_path / "run").exists()


def test_http_answers_have_the_candidates(model, predictor):
    answer = ask(create_app(Segmenter(predictor, predictor.set_image, Limits()), "two.keras"), form("the red man"))[0]
    (segment,) = answer.json()["segments"]
    if isinstance(model, MAttNet):
        first = segment["candidates"][0]
        assert set(first["parts"]) == {"subject", "location", "relationship"} and len(first["bbox"]) == 4
        assert [phrase["aspect"] for phrase in segment["phrases"]] == list(first["parts"])
        assert sum(phrase["share"] for phrase in segment["phrases"]) == pytest.approx(1)
    assert [stage["stage"] for stage in segment["stages"]] == list(model.stages)


def test_the_detector_has_to_fit():
    with pytest.raises(ValueError, match="fc7_dim: expected 64, as the detector gives; received 10"):
        MAttNet(dataclasses.replace(MATTNET, fc7_dim=10))


def test_a_checkpoint_and_its_detector(tmp_path):
    model = MAttNet(MATTNET)
    save_model(model, tmp_path / "first.keras")
    save_model(model.detector, tmp_path / "detector.keras")
    convert_back(str(tmp_path / "first.keras"), str(tmp_path / "mattnet.pth"))
    assert len(read_torch_file(tmp_path / "mattnet.pth")["model"]) == 115
    options = {"backbone_file": str(tmp_path / "detector.keras")}
    report = convert(str(tmp_path / "mattnet.pth"), str(tmp_path / "second.keras"), **options)
    assert report["model"] == "mattnet"
    for found, expected in zip(load_model(tmp_path / "second.keras").weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match=r"mattnet.pth: a MAttNet model without its detector, .* --backbone FILE"):
        convert(str(tmp_path / "mattnet.pth"), str(tmp_path / "third.keras"))
    assert not (tmp_path / "third.keras").exists()
    wider = dataclasses.replace(DETECTOR, backbone={"width": 3, "depths": [1, 1, 1, 1]})
    save_model(MaskRCNNC4(wider), tmp_path / "wider.keras")
    with pytest.raises(
        InputError, match=r"mattnet.pth: was trained with another detector than .*wider.keras: pool5_dim"
    ):
        convert(
            str(tmp_path / "mattnet.pth"), str(tmp_path / "third.keras"), backbone_file=str(tmp_path / "wider.keras")
        )
    assert not (tmp_path / "third.keras").exists()
