"""Mask R-CNN C4 against the numbers of the original, stage by stage and from picture to masks."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cmpc_tf2.backbones.config import ResNetC4Config
from cmpc_tf2.conversion.names.mask_rcnn import mask_rcnn_pairs
from cmpc_tf2.fields import FieldError
from cmpc_tf2.inference.detector import Detector, DetectorPicture
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.mask_rcnn_c4.anchors import anchors
from cmpc_tf2.models.mask_rcnn_c4.boxes import OFFSET_SCALES, refine
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config
from cmpc_tf2.models.mask_rcnn_c4.detections import select_detections
from cmpc_tf2.models.mask_rcnn_c4.detections import suppress as suppress_inverted
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.models.mask_rcnn_c4.tensorflow_operations import crop, suppress
from twostage_original import TINY_DETECTOR, assign_by_rule, read_golden

PICTURES = (0, 1, 2)
TOLERANCE = 1e-5
# In pixels.
BOXES = 1e-3


@pytest.fixture(scope="module")
def golden():
    return read_golden("maskrcnn_tiny")


@pytest.fixture(scope="module")
def model():
    model = MaskRCNNC4(TINY_DETECTOR, name="mask_rcnn")
    assign_by_rule(model.variables, mask_rcnn_pairs(TINY_DETECTOR), "maskrcnn_tiny")
    return model


@pytest.fixture(scope="module")
def detector(model):
    return Detector(model)


@pytest.fixture(params=PICTURES)
def stored(request, golden):
    """The arrays of one picture; maps with channels last."""
    arrays = {name.partition("/")[2]: value for name, value in golden.items() if name.startswith(f"{request.param}/")}
    for name in ("net_conv", "pool5", "spatial_fc7", "mask_prob_5"):
        arrays[name] = np.moveaxis(arrays[name], 1, -1)
    arrays["scaled_size"] = arrays["blob"].shape[1:3]
    arrays["scale"] = arrays["im_scale"][0]
    return arrays


def picture_of(stored) -> DetectorPicture:
    size = stored["image"].shape[:2]
    return DetectorPicture(tf.constant(stored["net_conv"]), size, stored["scaled_size"], stored["scale"])


def as_rows(detections) -> np.ndarray:
    return np.column_stack([detections.boxes, detections.scores, detections.classes])


def by_class_and_score(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort((-rows[:, 4], rows[:, 5]))]


def test_the_feature_map(model, stored, parity):
    expected = stored["net_conv"]
    parity.within("Mask R-CNN, small: feature map", model(stored["blob"]), expected, TOLERANCE, np.abs(expected).max())


def test_region_proposals(model, stored, parity):
    outputs = model.rpn(stored["net_conv"])
    for name, key in (("logits", "rpn_cls_score"), ("offsets", "rpn_bbox_pred")):
        parity.within(f"Mask R-CNN, small: {name} of proposals", outputs[name], stored[key], 2e-5)
    halves = np.stack(np.split(stored["rpn_cls_score"], 2, axis=-1))
    found = np.concatenate(ops.softmax(halves, axis=0), axis=-1)
    np.testing.assert_allclose(found, stored["rpn_cls_prob"], atol=TOLERANCE)


def test_anchors(stored, parity):
    rows, columns = stored["net_conv"].shape[1:3]
    np.testing.assert_array_equal(anchors(rows, columns), stored["anchors"])


def test_proposals(model, stored, parity):
    outputs = {"logits": stored["rpn_cls_score"], "offsets": stored["rpn_bbox_pred"]}
    found = model.propose(outputs, *stored["scaled_size"])
    parity.within("Mask R-CNN, small: proposals (pixels)", found, stored["rois"][:, 1:], BOXES)


def test_pooling(model, stored, parity):
    boxes = np.float32(stored["detections"][:, :4] * stored["scale"])
    found = model.pool(stored["net_conv"], boxes)
    parity.within("Mask R-CNN, small: pooling", found, stored["pool5"], TOLERANCE, np.abs(stored["pool5"]).max())
    np.testing.assert_allclose(ops.mean(found, axis=(1, 2)), stored["pool5_mean"], atol=5e-5)


def test_heads(model, stored, parity):
    features = model.last_stage(model.pool(stored["net_conv"], stored["rois"][:, 1:]))
    outputs = model.box_head(features)
    parity.within("Mask R-CNN, small: logits of classes", outputs["logits"], stored["cls_score"], 5e-5)
    parity.within("Mask R-CNN, small: probabilities", ops.softmax(outputs["logits"]), stored["cls_prob"], TOLERANCE)
    offsets = np.reshape(outputs["offsets"] * OFFSET_SCALES, stored["bbox_pred"].shape)
    parity.within("Mask R-CNN, small: offsets of classes", offsets, stored["bbox_pred"], TOLERANCE)
    masks = ops.sigmoid(model.mask_head(features[:5]))
    parity.within("Mask R-CNN, small: masks of proposals", masks, stored["mask_prob_5"], TOLERANCE)


def test_boxes_of_all_classes(stored, parity):
    offsets = stored["bbox_pred"].reshape(-1, 81, 4) / OFFSET_SCALES
    found = refine(stored["rois"][:, 1:] / np.float32(stored["scale"]), offsets, *stored["image"].shape[:2])
    parity.within("Mask R-CNN, small: boxes (pixels)", found, stored["boxes"].reshape(-1, 81, 4), BOXES)


def test_boxes_outside_of_the_picture_have_swapped_corners():
    """Each corner is clipped on one side only: x2 stays below zero on the left, and x1 beyond the last on the right."""
    starts = np.float32([[-30, -20, -11, -1], [40, 30, 49, 39]])
    found = refine(starts, np.zeros((2, 1, 4), np.float32), 20, 30)
    np.testing.assert_array_equal(found[:, 0], [[0, 0, -10, 0], [40, 30, 29, 19]])


def test_detections(stored):
    found = select_detections(stored["boxes"].reshape(-1, 81, 4), stored["scores"])
    np.testing.assert_array_equal(as_rows(found), by_class_and_score(stored["detections"]))


def test_features_and_masks_of_detections(detector, stored, parity):
    boxes, classes = stored["detections"][:, :4], stored["detections"][:, 5].astype(int)
    pooled, features = detector.box_features(picture_of(stored), boxes)
    parity.within("Mask R-CNN, small: pooling", pooled, stored["pool5"], TOLERANCE, np.abs(stored["pool5"]).max())
    expected = stored["spatial_fc7"]
    parity.within("Mask R-CNN, small: features of boxes", features, expected, TOLERANCE, np.abs(expected).max())
    np.testing.assert_allclose(features.mean(axis=(1, 2)), stored["fc7_mean"], atol=1e-4)
    masks = detector.mask_probabilities(features, classes)
    parity.within("Mask R-CNN, small: masks", masks, stored["mask_14"], TOLERANCE)


def test_from_picture_to_detections(detector, stored, parity):
    picture = detector.encode(stored["image"])
    assert picture.scale == stored["scale"] and picture.scaled_size == stored["scaled_size"]
    found, expected = as_rows(detector.detect(picture)), by_class_and_score(stored["detections"])
    parity.within("Mask R-CNN, small: detected boxes (pixels)", found[:, :4], expected[:, :4], 0.01)
    parity.within("Mask R-CNN, small: scores", found[:, 4], expected[:, 4], 2e-5)
    np.testing.assert_array_equal(found[:, 5], expected[:, 5])


def test_the_inference_form(model, golden):
    folded, pixels = model.inference_form(), golden["2/blob"]
    expected = model(pixels)
    np.testing.assert_allclose(folded(pixels), expected, atol=2e-5 * np.abs(expected).max())
    pooled = expected[:, :7, :7]
    for part in ("last_stage", "rpn"):
        for found, wanted in zip(
            keras.tree.flatten(getattr(folded, part)(pooled)),
            keras.tree.flatten(getattr(model, part)(pooled)),
            strict=True,
        ):
            np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())
    norms = [variable for variable in model.variables if "running" in variable.path]
    assert len(folded.variables) == len(model.variables) - 3 * len(norms) // 2
    assert folded.inference_form() is folded


def test_saving_and_loading(model, golden, tmp_path):
    save_model(model, tmp_path / "mask_rcnn.keras")
    loaded = load_model(tmp_path / "mask_rcnn.keras", MaskRCNNC4)
    assert loaded.config == TINY_DETECTOR and loaded.name == "mask_rcnn"
    assert [variable.path for variable in loaded.variables] == [variable.path for variable in model.variables]
    for found, expected in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(loaded(golden["2/blob"]), model(golden["2/blob"]))


def test_training_reaches_the_kernels_through_the_pooled_features_alone(model, golden):
    """Norms, the first convolution and the first stage are frozen; boxes pass no gradient on."""
    model.trainable = True
    trained = {variable.path for variable in model.trainable_variables}
    assert not any(".bn" in path or "downsample.1" in path for path in trained)
    assert "resnet.layer1.0.conv1/kernel" in trained and "mask_pred_net/bias" in trained
    finetuned = {variable.path for variable in model.backbone.finetuned_variables()}
    assert {path.split(".")[1] for path in finetuned} == {"layer2", "layer3"}
    assert len(finetuned) == 3 * 10 + 2 and all(path.endswith("/kernel") for path in finetuned)
    features = tf.constant(np.moveaxis(golden["2/net_conv"], 1, -1))
    before = [ops.convert_to_numpy(variable) for variable in model.last_stage.non_trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        boxes = model.propose(model.rpn(features), 128, 128, training=True)
        pooled = model.pool(features, boxes)
        trained_on = model.last_stage(pooled, training=True)
        total = ops.sum(trained_on)
        corners = ops.sum(boxes)
    assert np.abs(tape.gradient(total, features)).max() > 0
    assert tape.gradient(corners, features) is None
    np.testing.assert_array_equal(trained_on, model.last_stage(pooled))
    for found, expected in zip(model.last_stage.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_training_takes_more_proposals(model, golden):
    outputs = {"logits": golden["0/rpn_cls_score"], "offsets": golden["0/rpn_bbox_pred"]}
    few, many = (ops.convert_to_numpy(model.propose(outputs, 128, 199, training)) for training in (False, True))
    assert len(few) == 40 and len(many) == 100
    np.testing.assert_array_equal(many[:40], few)


# Overlap of the first with the second: 50 of 150 pixels, with the third 1 of 199.
SQUARES = np.float32([[0, 0, 9, 9], [5, 0, 14, 9], [9, 9, 18, 18], [0, 0, 9, 8]])
SCORES = np.float32([0.9, 0.8, 0.7, 0.6])


@pytest.mark.parametrize(
    "overlap, kept", [(1 / 3, [0, 2]), (0.34, [0, 1, 2]), (0.9, [0, 1, 2]), (0.91, [0, 1, 2, 3]), (0.005, [0])]
)
def test_boxes_at_the_least_overlap_are_left_out(overlap, kept):
    np.testing.assert_array_equal(suppress(SQUARES, SCORES, overlap, 10, 10), SQUARES[kept])
    np.testing.assert_array_equal(suppress_inverted(SQUARES, SCORES, overlap), kept)


def test_proposals_are_chosen_from_the_best_candidates():
    shuffled = [2, 0, 3, 1]
    for candidates, most, kept in ((10, 2, [0, 2]), (2, 10, [0]), (3, 10, [0, 2])):
        found = suppress(SQUARES[shuffled], SCORES[shuffled], 1 / 3, candidates, most)
        np.testing.assert_array_equal(found, SQUARES[kept])


def test_inverted_boxes_suppress_nothing_and_are_kept():
    """They arise where a box lies outside of the picture. TensorFlow would swap their corners."""
    boxes = np.float32([[20, 0, 1, 9], [20, 0, 2, 9], [2, 0, 19, 9], [3, 0, 2, 9], [9, 5, 3, 2]])
    np.testing.assert_array_equal(suppress_inverted(boxes, np.float32([5, 4, 3, 2, 1]), 0.3), np.arange(5))


def scores_of(*best: float) -> np.ndarray:
    """Probabilities of three classes and the background, with the best score of each class."""
    probabilities = np.zeros((4, 4), np.float32)
    probabilities[0, 1:] = best
    return probabilities


@pytest.mark.parametrize(
    "best, classes",
    [
        ((0.64, 0.66, 0.1), [2]),
        ((0.65, 0.65, 0.1), [1, 2]),
        ((0.56, 0.64, 0.1), [1, 2]),
        ((0.2, 0.44, 0.46), [3]),
        ((0.2, 0.1, 0.06), [1]),
    ],
)
def test_the_least_score_falls_until_there_is_a_detection(best, classes):
    boxes = np.tile(SQUARES[:, None], (1, 4, 1))
    found = select_detections(boxes, scores_of(*best))
    assert found.classes.tolist() == classes and found.boxes.shape == (len(classes), 4)


def test_without_any_score_all_boxes_are_kept():
    """The picture shows nothing: every class has its boxes, without those that overlap."""
    boxes = np.tile(SQUARES[:, None], (1, 4, 1))
    found = select_detections(boxes, scores_of(0.04, 0.0, 0.0))
    assert len(found) == 6 and found.classes.tolist() == [1, 1, 2, 2, 3, 3]
    assert found.scores.tolist() == [np.float32(0.04), 0, 0, 0, 0, 0]


def test_crops_blend_with_zero_outside():
    """In a map of ones: a point half a cell right of the last column is one half, a whole cell is zero."""
    features = np.ones((1, 4, 4, 1), np.float32)
    found = crop(features, np.float32([[0, 0, 3.5 * 16, 48], [-16, 16, 64, 16], [64, 32, 32, 32]]), 16, 3)[..., 0]
    np.testing.assert_allclose(found[0], [[1, 1, 0.5]] * 3, atol=1e-6)
    np.testing.assert_allclose(found[1], [[0, 1, 0]] * 3, atol=1e-6)
    np.testing.assert_allclose(found[2], [[0, 1, 1]] * 3, atol=1e-6)
    far = crop(features, np.float32([[1000, 1000, 2000, 2000]]), 16, 3)
    np.testing.assert_array_equal(far, np.zeros((1, 3, 3, 1)))


def test_the_gradient_of_crops_is_their_adjoint(rng):
    """Crops are linear in the map: for any weights of the result, `<crop(map), weights> = <map, gradient>`."""
    boxes = np.float32(
        [[3, 5, 40, 60], [-20, -9, 31, 20], [64, 32, 32, 32], [70, 50, 200, 90], [1000, 1000, 2000, 2000]]
    )
    weights = rng.normal(size=(5, 7, 7, 3)).astype(np.float32)
    features = [tf.constant(rng.normal(size=(1, 5, 6, 3)), tf.float32) for _ in range(2)]
    with tf.GradientTape() as tape:
        tape.watch(features[0])
        total = tf.reduce_sum(crop(features[0], boxes, 16, 7) * weights)
    gradient = tape.gradient(total, features[0])
    expected = tf.reduce_sum(crop(features[1], boxes, 16, 7) * weights)
    np.testing.assert_allclose(tf.reduce_sum(gradient * features[1]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("height, width", [(1, 300), (30, 2), (64, 64)])
def test_pictures_of_any_size(detector, height, width, rng):
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    picture = detector.encode(image)
    found = detector.detect(picture)
    assert len(found) > 0 and np.isfinite(found.boxes).all()
    assert picture.features.shape[1:3] == tuple(-(-side // 16) for side in picture.scaled_size)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"backbone": {"width": 8, "depths": [3, 4]}}, r"backbone\.depths: expected a list of four, one per stage"),
        ({"classes": 0}, "classes: expected a whole number from 1"),
        ({"longer_side": 100}, "longer_side: expected at least 128, the shorter side; received 100"),
        ({"candidates": 0.5}, "candidates: expected a whole number"),
    ],
)
def test_sizes_are_checked(changes, message):
    with pytest.raises(FieldError, match=message):
        MaskRCNNC4Config(**{**TINY_DETECTOR.to_dict(), **changes})


def test_sizes_as_data():
    assert MaskRCNNC4Config(**json.loads(json.dumps(TINY_DETECTOR.to_dict()))) == TINY_DETECTOR
    default = dataclasses.replace(MaskRCNNC4Config(), backbone=ResNetC4Config())
    assert default.backbone.channels("c4") == 1024 and default.backbone.channels("c5") == 2048
