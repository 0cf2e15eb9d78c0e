"""Sizes, models and numbers of the goldens of CAC; `golden/twostage/README.md` describes them."""

import functools

import keras
import numpy as np

from cmpc_tf2.conversion.names.cac import cac_pairs
from cmpc_tf2.models.cac.config import CACConfig, CaptionerConfig
from cmpc_tf2.models.cac.model import CAC
from cmpc_tf2.models.mask_rcnn_c4.anchors import COUNT as ANCHORS_OF_A_CELL
from cmpc_tf2.preprocessing.detector_picture import scale_picture
from cmpc_tf2.recipes.cac.targets import AnchorTargets, BoxTargets, StepTargets, Truth, covered_cells, response_target
from twostage_original import TINY_DETECTOR, assign_by_rule

# Those of the original, by name in the goldens: the variant of the model, and whether it has a captioner.
VARIANTS = {
    "baseline": ("baseline", False),
    "spatial": ("spatial", False),
    "response": ("response", False),
    "cycle_res5_2": ("spatial", True),
    "cycle_response": ("response", True),
}
# Anchors with a label and boxes of a step of the tiny goldens.
COUNTS = (32, 24)
CAPTION_WEIGHT = 0.5


def tiny_config(variant: str) -> CACConfig:
    """The sizes of the tiny goldens, by a key of `VARIANTS`."""
    kind, has_captioner = VARIANTS[variant]
    captioner = CaptionerConfig(units=18, word_dim=22, attention_dim=26) if has_captioner else None
    widths = {"vocabulary_size": 50, "max_words": 10, "embedding_dim": 24, "word_dim": 20, "lstm_units": 14}
    return CACConfig(variant=kind, detector=TINY_DETECTOR, captioner=captioner, **widths)


@functools.cache
def shared_model(variant: str) -> CAC:
    """As `tiny_model`, for tests that change no weight."""
    return tiny_model(variant)


def tiny_model(variant: str) -> CAC:
    """A model of the tiny goldens, with weights by the rule and without dropout."""
    config = tiny_config(variant)
    model = CAC(config, name="cac")
    # `spatial` and `response` have the same parameters.
    manifest = "cycle_response" if config.captioner else "baseline" if variant == "baseline" else "response"
    assign_by_rule(model.weights, cac_pairs(config), f"cac_{manifest}_tiny")
    drop_nothing(model)
    return model


def drop_nothing(model):
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def picture_of(golden, sample: str, sizes=TINY_DETECTOR) -> tuple[np.ndarray, np.ndarray]:
    """The image of a sample and its scaling, as the model takes them."""
    image = golden[f"{sample}image"]
    pixels, scale = scale_picture(image, sizes.shorter_side, sizes.longer_side)
    return pixels[None], np.float32([[scale, *image.shape[:2]]])


def truth_of(golden, sample: int) -> Truth:
    """The object of a sample in the scaled picture, as the golden has it."""
    box = golden[f"{sample}/gt_boxes"][0]
    return Truth(box[:4], int(box[4]), golden[f"{sample}/gt_masks"][0])


def stored_targets(golden, step: str, truth: Truth, map_size: tuple[int, int]) -> StepTargets:
    """The targets that the original drew for a step; the masks of the whole picture are made."""
    height, width = map_size
    anchors = height * width * ANCHORS_OF_A_CELL
    labels, offsets = np.full(anchors, -1, np.int8), np.zeros((anchors, 4))
    anchor, place = np.divmod(golden[f"{step}/rpn_labels_index"], height * width)
    labels[place * ANCHORS_OF_A_CELL + anchor] = golden[f"{step}/rpn_labels_value"]
    offsets[golden[f"{step}/rpn_positive"]] = golden[f"{step}/rpn_positive_targets"].reshape(-1, 4)
    boxes = BoxTargets(
        golden[f"{step}/rois"][:, 1:],
        golden[f"{step}/roi_labels"],
        golden[f"{step}/roi_bbox_targets"],
        np.float32(golden[f"{step}/roi_mask_targets"]),
    )
    wholes = response_target(truth.mask, *map_size), covered_cells(truth.mask, *map_size)
    return StepTargets(AnchorTargets(labels, np.float32(offsets)), boxes, *wholes)
