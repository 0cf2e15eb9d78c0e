"""Mask R-CNN C4 at full size against the numbers of the original's demo."""

import numpy as np
import pytest
from keras import ops

from cmpc_tf2.conversion.names.mask_rcnn import mask_rcnn_pairs
from cmpc_tf2.inference.detector import Detector
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.preprocessing.pasting import clip_boxes, paste_mask
from twostage_original import assign_by_rule, read_golden

# COCO's numbers of the 80 classes, of which there are 90.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORIES = np.array([0, *(number for number in range(1, 91) if number not in _UNUSED)])


@pytest.mark.slow
def test_the_demo(parity):
    golden = read_golden("mattnet_full")
    model = MaskRCNNC4(name="mask_rcnn")
    assign_by_rule(model.variables, mask_rcnn_pairs(model.config), "maskrcnn_full")
    detector = Detector(model)
    picture = detector.encode(golden["image"])
    assert (*picture.scaled_size, picture.scale) == tuple(golden["im_info"][0])
    expected = np.moveaxis(golden["net_conv_every_32nd_channel"], 1, -1)
    parity.within("Mask R-CNN: feature map", picture.features[..., ::32], expected, 2e-4, np.abs(expected).max())

    outputs = model.rpn(picture.features)
    foreground = ops.softmax(ops.reshape(outputs["logits"], (-1, 2, 12)), axis=1)[:, 1]
    expected = golden["rpn_cls_prob_foreground"].reshape(-1, 12)
    parity.within("Mask R-CNN: foreground of anchors", foreground, expected, 1e-4)
    # Some have equal scores: rows may be in another order.
    proposals, expected = ops.convert_to_numpy(model.propose(outputs, *picture.scaled_size)), golden["rois"][:, 1:]
    assert proposals.shape == expected.shape
    distance = np.abs(proposals[:, None] - expected).max(axis=-1)
    nearest = np.stack([distance.min(axis=0), distance.min(axis=1)])
    parity.within("Mask R-CNN: proposals (pixels)", nearest, np.zeros_like(nearest), 0.01)

    found = detector.detect(picture)
    boxes, scores = golden["boxes"], golden["scores"]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1)
    assert len(found) == len(boxes) == 48
    pairs = _matched(found, corners, golden["category_id"])
    parity.within("Mask R-CNN: detected boxes (pixels)", found.boxes, corners[pairs], 0.01)
    parity.within("Mask R-CNN: scores", found.scores, scores[pairs], 2e-4)

    # The demo clips the boxes before it takes their features, but not before it predicts their masks.
    height, width = picture.size
    pooled, features = detector.box_features(picture, clip_boxes(found.boxes, height, width))
    for name, values, key in (("pooling", pooled, "pool5_mean"), ("features of boxes", features, "fc7_mean")):
        expected = golden[key][pairs]
        parity.within(f"Mask R-CNN: {name}", values.mean(axis=(1, 2)), expected, 2e-4, np.abs(expected).max())
    probabilities = detector.mask_probabilities(detector.box_features(picture, found.boxes)[1], found.classes)
    masks = np.unpackbits(golden["masks"])[: np.prod(golden["masks_shape"])].reshape(golden["masks_shape"])[pairs]
    pasted = [paste_mask(*one, height, width) for one in zip(probabilities, found.boxes, strict=True)]
    different = (np.array(pasted) != masks).sum(axis=(1, 2))
    assert different.max() <= 2, different


def _matched(found, corners: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """The detection of the golden that belongs to each one that was found; none twice."""
    distance = np.abs(found.boxes[:, None] - corners).max(axis=-1)
    distance[CATEGORIES[found.classes][:, None] != categories] = np.inf
    pairs = distance.argmin(axis=1)
    assert len(set(pairs)) == len(pairs) == len(corners)
    return pairs
