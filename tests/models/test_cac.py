"""CAC against the numbers of the original, in all variants, and properties of the whole model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cac_original import picture_of, shared_model
from cmpc_tf2.conversion.names.cac import cac_pairs
from cmpc_tf2.models.cac.config import CACConfig, CaptionerConfig
from cmpc_tf2.models.cac.model import CAC, choose
from cmpc_tf2.models.mask_rcnn_c4.boxes import OFFSET_SCALES, refine
from cmpc_tf2.preprocessing.pasting import paste_mask
from twostage_original import assign_by_rule, read_golden

TOLERANCE = 1e-5
# Of probabilities. Raw responses of one filter make the map of the baseline tens of times larger.
PROBABILITIES = {"baseline": 3e-5, "spatial": TOLERANCE, "response": TOLERANCE}
# In pixels, of proposals and boxes: 1e-5 of the longer side.
PIXELS, FULL_PIXELS = 2e-3, 0.01
SAMPLES = [("baseline", 0), ("baseline", 2)] + [(name, k) for name in ("spatial", "response") for k in range(3)]


@pytest.fixture(scope="module")
def golden():
    return read_golden("cac_tiny")


def relative(parity, what: str, found, expected, tolerance: float):
    parity.within(what, found, expected, tolerance, scale=np.abs(expected).max())


def assert_filters(parity, what: str, seen: dict, stored: dict, tolerance: float = TOLERANCE):
    """Compares vectors, filters and responses of one sentence with those of the golden, by name."""
    parity.within(f"{what}: vectors of sentences", seen["hidden"], stored["hidden"], tolerance)
    parity.within(f"{what}: filters", seen["filters"][0], stored["filters"], tolerance)
    responses = np.moveaxis(np.asarray(seen["responses"][0]), -1, 0)
    relative(parity, f"{what}: responses of regions", responses, stored["responses"], tolerance)
    if "response_filter" in stored:
        parity.within(f"{what}: filter of responses", seen["response_filter"][0], stored["response_filter"], tolerance)
        relative(parity, f"{what}: responses", seen["response"][0], stored["response"], tolerance)


def arrays_of(golden, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}


def encode(model, golden, sample: str) -> dict:
    return model.encode(*picture_of(golden, sample, model.config.detector))


@pytest.mark.parametrize("variant, sample", [*SAMPLES, ("baseline", 1)])
def test_filters(variant, sample, golden, parity):
    model = shared_model(variant)
    features = encode(model, golden, f"{sample}/")["features"]
    seen = model.weight_features(features, golden[f"{sample}/labels"])
    assert_filters(parity, f"CAC, {variant}", seen, arrays_of(golden, f"{variant}/{sample}/"))


def test_stages(golden, parity):
    """Every stage from the stored results of the one before."""
    model, stored = shared_model("response"), arrays_of(golden, "response/0/")
    encoded = encode(model, golden, "0/")
    features = np.moveaxis(stored["net_conv"], 1, -1)  # The weighted map.
    seen = model.weight_features(encoded["features"], golden["0/labels"])
    relative(parity, "CAC: weighted map", seen["weighted"], features, TOLERANCE)
    rpn = model.detector.rpn(features)
    halves = np.stack(np.split(np.asarray(rpn["logits"]), 2, axis=-1))
    found = np.concatenate(ops.softmax(halves, axis=0), axis=-1)
    parity.within("CAC: probabilities of anchors", found, stored["rpn_cls_prob"], TOLERANCE)
    relative(parity, "CAC: offsets of anchors", rpn["offsets"], stored["rpn_bbox_pred"], TOLERANCE)
    geometry = encoded["geometry"][0]
    boxes, probabilities, offsets = model.detect(features, rpn, geometry)
    parity.within("CAC: proposals (pixels)", boxes, stored["rois"][:, 1:], PIXELS)
    parity.within("CAC: probabilities of classes", probabilities, stored["scores"], TOLERANCE)
    scaled = np.reshape(offsets * OFFSET_SCALES, stored["bbox_pred"].shape)
    parity.within("CAC: offsets of boxes", scaled, stored["bbox_pred"], TOLERANCE)
    refined = refine(boxes / geometry[2], offsets, geometry[3], geometry[4])
    parity.within("CAC: boxes (pixels)", np.reshape(refined, (-1, 324)), stored["boxes"], PIXELS)
    heads = model.read_boxes(features, stored["rois"][:, 1:])
    relative(parity, "CAC: logits of classes", heads["logits"], stored["cls_score"], TOLERANCE)


@pytest.mark.parametrize("variant, sample", SAMPLES)
def test_proposals_and_scores(variant, sample, golden, parity):
    model, stored = shared_model(variant), arrays_of(golden, f"{variant}/{sample}/")
    encoded = encode(model, golden, f"{sample}/")
    weighted = model.weight_features(encoded["features"], golden[f"{sample}/labels"])["weighted"]
    boxes, probabilities, _ = model.detect(weighted, model.detector.rpn(weighted), encoded["geometry"][0])
    parity.within(f"CAC, {variant}: proposals (pixels)", boxes, stored["rois"][:, 1:], PIXELS)
    parity.within(f"CAC, {variant}: probabilities", probabilities, stored["scores"], PROBABILITIES[variant])
    row, number, score = choose(probabilities)
    assert (int(row), int(number)) == (stored["pred_roi"], stored["pred_class"])
    assert float(score) == np.asarray(probabilities)[stored["pred_roi"], stored["pred_class"]]


@pytest.mark.parametrize("variant, sample", SAMPLES)
def test_answers(variant, sample, golden, parity):
    """From picture and sentence to the pasted mask."""
    model, stored = shared_model(variant), arrays_of(golden, f"{variant}/{sample}/")
    pixels, scaling = picture_of(golden, f"{sample}/")
    found = model({"image": pixels, "scaling": scaling, "token_ids": golden[f"{sample}/labels"]})
    assert_answer(parity, f"CAC, {variant}", found, stored)


def assert_answer(parity, what: str, found: dict, stored: dict, tolerance: float = TOLERANCE, pixels: float = PIXELS):
    assert int(found["class_index"][0]) == stored["pred_class"]
    parity.within(f"{what}: chosen box (pixels)", found["box"][0], stored["pred_box"], pixels)
    if stored["pred_roi"] < len(stored["scores"]):  # Of full size, the first ones are stored.
        score = stored["scores"][stored["pred_roi"], stored["pred_class"]]
        parity.within(f"{what}: score", found["score"][0], score, tolerance)
    parity.within(f"{what}: mask in the box", found["mask_probs"][0], stored["mask_14"][0], 2 * tolerance)
    pasted = paste_mask(np.asarray(found["mask_probs"][0]), np.asarray(found["box"][0]), *stored["size"])
    differing = np.count_nonzero(pasted != (stored["pred_mask"] > 0))
    parity.within(f"{what}: share of other pixels in the mask", differing / pasted.size, 0.0, 1e-3)


def test_a_captioner_changes_no_answer(golden):
    pixels, scaling = picture_of(golden, "0/")
    inputs = {"image": pixels, "scaling": scaling, "token_ids": golden["0/labels"]}
    other = shared_model("cycle_response")
    assert other.count_params() > shared_model("response").count_params()
    for name, value in other(inputs).items():
        np.testing.assert_array_equal(value, shared_model("response")(inputs)[name])


@pytest.mark.parametrize("variant", ["baseline", "spatial", "response"])
def test_sentences_of_a_batch_do_not_depend_on_each_other(variant, golden):
    """The original applies the filters of the first sentence to all."""
    model = shared_model(variant)
    encoded = encode(model, golden, "0/")
    token_ids = np.concatenate([golden[f"{sample}/labels"] for sample in range(3)])
    together = model.decode(encoded, token_ids)
    assert {value.shape[0] for value in together.values()} == {3}
    for row in range(3):
        alone = model.decode(encoded, token_ids[row : row + 1])
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][row], value[0], rtol=1e-4, atol=1e-4, err_msg=name)
    assert len(np.unique(np.asarray(together["score"]))) > 1


def test_both_halves_as_graphs_of_free_size(golden, parity):
    """The halves as they are exported: any picture, any number of sentences."""
    model = shared_model("response")
    encode_any = tf.function(model.encode, input_signature=[tf.TensorSpec((1, None, None, 3)), tf.TensorSpec((1, 3))])
    decode_any = tf.function(model.decode)
    for sample in range(3):
        pixels, scaling = picture_of(golden, f"{sample}/")
        token_ids = tf.constant(golden[f"{sample}/labels"], tf.int32)
        found = decode_any(encode_any(pixels, scaling), token_ids)
        assert_answer(parity, "CAC, response, in a graph", found, arrays_of(golden, f"response/{sample}/"))


def test_padding_changes_nothing(golden):
    model = shared_model("response")
    features = encode(model, golden, "0/")["features"]
    padded, trimmed = golden["0/labels"], golden["0/labels"][:, :5]
    assert (padded[:, 5:] == 0).all() and (trimmed > 0).all()
    found, expected = (model.weight_features(features, ids)["filters"] for ids in (padded, trimmed))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_of_equal_scores_the_first_counts():
    probabilities = np.zeros((3, 4), np.float32)
    probabilities[:, 0] = 1.0  # The background does not count.
    probabilities[1, 3] = probabilities[1, 2] = probabilities[2, 1] = 0.5
    row, number, score = choose(probabilities)
    assert (int(row), int(number), float(score)) == (1, 2, 0.5)
    probabilities[0, 3] = 0.5
    assert [int(value) for value in choose(probabilities)[:2]] == [0, 3]
    probabilities[2, 3] = 0.75
    assert [int(value) for value in choose(probabilities)[:2]] == [2, 3]


@pytest.mark.parametrize("variant", ["baseline", "cycle_response"])
def test_saving_and_loading(variant, tmp_path):
    """A model file holds the captioner, which training continues with."""
    model = shared_model(variant)
    path = str(tmp_path / "cac.keras")
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.config == model.config and loaded.name == "cac" and loaded.vocabulary is None
    with pytest.raises(ValueError, match=r"cac\.h5: expected a name that ends in \.keras"):
        model.save(str(tmp_path / "cac.h5"))
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
    for found, expected in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_inference_form(golden):
    model = shared_model("cycle_response")
    pixels, scaling = picture_of(golden, "2/")
    inputs = {"image": pixels, "scaling": scaling, "token_ids": golden["2/labels"]}
    form = model.inference_form()
    assert form.caption_model is None and len(form.weights) < len(model.weights)
    found, expected = form(inputs), model(inputs)
    assert int(found["class_index"][0]) == int(expected["class_index"][0])
    for name in ("score", "box", "mask_probs", "response"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-2 if name == "box" else 1e-3, err_msg=name)


@pytest.mark.slow
def test_full_size(parity):
    golden = read_golden("cac_full")
    config = CACConfig(captioner=CaptionerConfig())
    model = CAC(config, name="cac")
    assign_by_rule(model.weights, cac_pairs(config), "cac_full")
    encoded = encode(model, golden, "")
    token_ids = np.pad(golden["labels"], [(0, 0), (0, 4)])
    seen = model.weight_features(encoded["features"], token_ids)
    assert_filters(parity, "CAC, full size", seen, golden)
    boxes, probabilities, _ = model.detect(
        seen["weighted"], model.detector.rpn(seen["weighted"]), encoded["geometry"][0]
    )
    parity.within("CAC, full size: proposals (pixels)", boxes, golden["rois"][:, 1:], FULL_PIXELS)
    parity.within("CAC, full size: probabilities", probabilities[:60], golden["scores"], 5e-5)
    assert int(choose(probabilities)[0]) == golden["pred_roi"]
    assert_answer(parity, "CAC, full size", model.decode(encoded, token_ids), golden, 1e-4, FULL_PIXELS)
