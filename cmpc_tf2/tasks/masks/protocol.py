"""Protocols of the published numbers: from the logits of the resized picture to the pixels that are counted."""

import abc
from typing import ClassVar

import numpy as np
from scipy.special import expit

from cmpc_tf2.data.batches import Sample
from cmpc_tf2.errors import UsageError
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.masks.densecrf import refine_mask
from cmpc_tf2.tasks.masks.metrics import intersection_and_union
from cmpc_tf2.tasks.masks.prediction import Prediction

# The threshold on logits in the original of CMPC. (`Prediction.mask` has another: probabilities from one half on, at
# the picture's own size.)
SCORE_THRESHOLD = 1e-9


class Protocol(abc.ABC):
    """A protocol. A model names that of its original.

    Attributes:
        description: The protocol in words, for reports.
    """

    description: ClassVar[str]

    @abc.abstractmethod
    def score_mask(
        self, sample: Sample, logits: np.ndarray, preprocessing: Preprocessing, dcrf: bool
    ) -> tuple[np.ndarray, dict]:
        """Compares the mask of one expression with its ground truth.

        Args:
            sample: The sample.
            logits: float32 `(S, S)`, of the resized picture.
            preprocessing: How the picture was resized.
            dcrf: Score the mask refined by DenseCRF too.

        Returns:
            The final mask, bool `(h, w)`, and the record: `intersection` and `union` in pixels, with `dcrf` also
            `dcrf_intersection` and `dcrf_union`.

        Raises:
            InputError: pydensecrf is not installed.
        """


class RimProtocol(Protocol):
    """At the picture's own size: every pixel counts whose interpolated value is not exactly zero, a rim included.

    Source: `test` in `trainval_model.py` of CMPC-Refseg.
    """

    description = "original, rim included"

    def score_mask(
        self, sample: Sample, logits: np.ndarray, preprocessing: Preprocessing, dcrf: bool
    ) -> tuple[np.ndarray, dict]:
        masks = {"": logits >= SCORE_THRESHOLD}
        if dcrf:
            masks["dcrf_"] = refine_mask(expit(logits), preprocessing.fit(sample.image))
        record = {}
        for prefix, mask in masks.items():
            restored = self._restore(mask, preprocessing, *sample.mask.shape)
            record |= _counts(prefix, restored, sample.mask)
        return restored, record

    def _restore(self, mask: np.ndarray, preprocessing: Preprocessing, height: int, width: int) -> np.ndarray:
        return preprocessing.restore_mask(mask, height, width)


class ExactProtocol(RimProtocol):
    """As `RimProtocol` without the rim: an interpolated value counts from one half on."""

    description = "exact masks, without the interpolated rim"

    def _restore(self, mask: np.ndarray, preprocessing: Preprocessing, height: int, width: int) -> np.ndarray:
        return preprocessing.restore(mask, height, width, border="constant") >= 0.5


class ResizedProtocol(Protocol):
    """At the model's size, against the resized ground truth; and at the picture's own size, as `predict` gives it.

    The record besides holds `own_size_intersection` and `own_size_union`; the mask that is returned has the own size,
    and DenseCRF, which the original lacks, refines that one.

    Source: `eval.py` of naver-ai/maskris (commit 01b54d5).
    """

    description = "original, at the model's size; own_size: at the picture's own size"

    def score_mask(
        self, sample: Sample, logits: np.ndarray, preprocessing: Preprocessing, dcrf: bool
    ) -> tuple[np.ndarray, dict]:
        prediction = Prediction(expit(logits), sample.mask.shape, preprocessing)
        mask = prediction.mask
        record = _counts("", logits > 0, preprocessing.fit_mask(sample.mask)) | _counts("own_size_", mask, sample.mask)
        if dcrf:
            mask = prediction.refined_mask(sample.image)
            record |= _counts("dcrf_", mask, sample.mask)
        return mask, record


# By the name that a model gives.
PROTOCOLS = {"rim": RimProtocol(), "resized": ResizedProtocol()}


def protocol_of(name: str, exact_masks: bool = False) -> Protocol:
    """A protocol by its name.

    Args:
        name: As `ReferringModel.protocol_name`.
        exact_masks: Leave out the rim. Not comparable with published numbers.

    Raises:
        UsageError: There is no rim to leave out.
    """
    if not exact_masks:
        return PROTOCOLS[name]
    if name != "rim":
        raise UsageError("--exact-masks: the protocol of this model counts no rim; leave the option out")
    return ExactProtocol()


def _counts(prefix: str, mask: np.ndarray, target: np.ndarray) -> dict[str, int]:
    """The record of a mask."""
    intersection, union = intersection_and_union(mask, target)
    return {f"{prefix}intersection": intersection, f"{prefix}union": union}
