"""The protocol of the published numbers: from the logits of the fitted picture to the pixels that are counted."""

import numpy as np
from scipy.special import expit

from cmpc_tf2.data.batches import Sample
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.masks.densecrf import refine_mask
from cmpc_tf2.tasks.masks.metrics import intersection_and_union

# The original's threshold on logits. (`Prediction.mask` has another: probabilities from one half on, at the picture's
# own size.)
SCORE_THRESHOLD = 1e-9


def score_mask(
    sample: Sample, logits: np.ndarray, preprocessing: Preprocessing, dcrf: bool = False, exact_masks: bool = False
) -> tuple[np.ndarray, dict]:
    """Compares the mask of one expression with its ground truth.

    The thresholded mask of the fitted picture is interpolated back to the picture's size, and every pixel that is not
    exactly zero counts as foreground, the interpolated rim included.

    Source: `test` in `trainval_model.py` of CMPC-Refseg.

    Args:
        sample: The sample.
        logits: float32 `(S, S)`, of the fitted picture.
        preprocessing: How the picture was fitted.
        dcrf: Score the mask refined by DenseCRF too.
        exact_masks: Leave out the rim: an interpolated value counts from one half on. Not comparable with published
            numbers.

    Returns:
        The final mask, bool `(h, w)`, and the record: `intersection` and `union` in pixels, with `dcrf` also
        `dcrf_intersection` and `dcrf_union`.

    Raises:
        InputError: pydensecrf is not installed.
    """
    masks = {"": logits >= SCORE_THRESHOLD}
    if dcrf:
        masks["dcrf_"] = refine_mask(expit(logits), preprocessing.fit(sample.image))
    record = {}
    for prefix, mask in masks.items():
        if exact_masks:
            restored = preprocessing.restore(mask, *sample.mask.shape, border="constant") >= 0.5
        else:
            restored = preprocessing.restore_mask(mask, *sample.mask.shape)
        intersection, union = intersection_and_union(restored, sample.mask)
        record |= {f"{prefix}intersection": intersection, f"{prefix}union": union}
    return restored, record
