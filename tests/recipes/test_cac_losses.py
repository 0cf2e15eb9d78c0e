"""The losses of CAC, on the predictions and targets of the original and by hand."""

import numpy as np
import pytest
from scipy.special import log_softmax

from cac_original import stored_targets, truth_of
from cmpc_tf2.recipes.cac.losses import anchor_losses, box_losses, caption_loss, response_loss, smooth_l1
from cmpc_tf2.recipes.cac.targets import AnchorTargets, BoxTargets
from twostage_original import read_golden

TRAINED = ("spatial", "response", "cycle_res5_2", "cycle_response")


@pytest.fixture(scope="module")
def golden():
    return read_golden("cac_tiny")


@pytest.mark.parametrize("variant", TRAINED)
def test_losses_of_stored_predictions(variant, golden, parity):
    name, truth = f"{variant}/train/0", truth_of(golden, 0)
    logits, offsets = (golden[f"{name}/pred/{key}"] for key in ("rpn_cls_score", "rpn_bbox_pred"))
    targets = stored_targets(golden, name, truth, logits.shape[1:3])
    found = dict(
        zip(("rpn_cross_entropy", "rpn_loss_box"), anchor_losses(logits, offsets, targets.anchors), strict=True)
    )
    heads = golden[f"{name}/pred/cls_score"], golden[f"{name}/pred/bbox_pred"].reshape(-1, 81, 4)
    masks = np.moveaxis(golden[f"{name}/pred/mask_score"], 1, -1)
    values = box_losses(*heads, masks, targets.boxes)
    found |= dict(zip(("cross_entropy", "loss_box", "loss_mask"), values, strict=True))
    if "response" in variant:
        found["loss_response"] = response_loss(golden[f"{name}/pred/response"][0], targets.response)
    if "cycle" in variant:
        found["loss_caption"] = caption_loss(golden[f"{name}/caption/logprobs"], golden["0/labels"][:, :5])
    columns = [column.decode() for column in golden[f"{variant}/train/columns"]]
    assert set(found) == set(columns) - {"total_loss"}
    for column, expected in zip(columns, golden[f"{variant}/train/trajectory"][0], strict=True):
        if column != "total_loss":
            parity.within(f"CAC, {variant}: losses alone", float(found[column]), expected, 1e-6, expected, column)


def test_losses_of_anchors_by_hand():
    """Two anchors in a row of two cells: one object, one background, two without a label."""
    logits = np.float32([[[[1, 2, 4, -1], [0, 3, 1, 9]]]])  # Background, background, object, object.
    offsets = np.zeros((1, 1, 2, 8), np.float32)
    offsets[0, 0, 0, :4] = [0.05, 1, 0, 0]
    offsets[0, 0, 1] = 100  # Does not count.
    targets = AnchorTargets(np.int8([1, 0, -1, -1]), np.zeros((4, 4), np.float32))
    found = anchor_losses(logits, offsets, targets)
    expected = -(log_softmax([1, 4])[1] + log_softmax([2, -1])[0]) / 2
    assert float(found[0]) == pytest.approx(expected, rel=1e-6)
    assert float(found[1]) == pytest.approx((4.5 * 0.05**2 + 1 - 1 / 18) / 2, rel=1e-6)


def test_no_labels_no_loss():
    """Of a picture smaller than all anchors."""
    targets = AnchorTargets(np.full(12, -1, np.int8), np.zeros((12, 4), np.float32))
    found = anchor_losses(np.ones((1, 1, 1, 24), np.float32), np.ones((1, 1, 1, 48), np.float32), targets)
    assert [float(loss) for loss in found] == [0, 0]


def test_losses_of_boxes_by_hand():
    """The class of the box counts, and of the background neither offsets nor masks."""
    logits = np.float32([[0, 1, 2], [3, 0, 0]])
    offsets, masks = np.full((2, 3, 4), 9, np.float32), np.full((1, 14, 14, 3), 50, np.float32)
    offsets[0, 2], masks[..., 2] = [0.5, 3, 0, 0], 0
    masks[0, 0, 0, 2] = 2
    targets = BoxTargets(
        np.zeros((2, 4), np.float32), np.int32([2, 0]), np.zeros((2, 4), np.float32), np.ones((1, 14, 14), np.float32)
    )
    found = [float(loss) for loss in box_losses(logits, offsets, masks, targets)]
    expected = [
        -(log_softmax(logits[0])[2] + log_softmax(logits[1])[0]) / 2,
        (0.125 + 2.5) / 2,
        (195 * np.log(2) + np.log1p(np.exp(-2))) / 196,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_smooth_l1(sigma):
    bound = 1 / sigma**2
    errors = np.float32([0, 0.5 * bound, -0.5 * bound, bound, 2 * bound, -2 * bound])
    expected = [0, bound / 8, bound / 8, bound / 2, 1.5 * bound, 1.5 * bound]
    np.testing.assert_allclose(smooth_l1(errors, sigma), expected, rtol=1e-6)


def test_the_loss_of_a_caption(rng):
    """The words and the end count; what is behind does not."""
    words = np.log(rng.dirichlet(np.ones(6), (1, 5)))
    expected = -(words[0, 0, 4] + words[0, 1, 2] + words[0, 2, 0]) / 3
    assert float(caption_loss(np.float32(words), np.array([[4, 2, 0, 0]]))) == pytest.approx(expected, rel=1e-5)
    full = -(words[0, 0, 4] + words[0, 1, 2] + words[0, 2, 1] + words[0, 3, 3] + words[0, 4, 0]) / 5
    assert float(caption_loss(np.float32(words), np.array([[4, 2, 1, 3]]))) == pytest.approx(full, rel=1e-5)


def test_losses_of_large_logits_are_finite():
    response = np.float32([[[500, -500]]])
    assert float(response_loss(response, np.float32([[0, 1]]))) == pytest.approx(500)
    assert float(response_loss(response, np.float32([[1, 0]]))) == pytest.approx(0)
