"""Protocols of the published numbers: from the logits of the resized picture to the pixels that are counted."""

import abc

import numpy as np
from scipy.special import expit

from cmpc_tf2.data.batches import Sample
from cmpc_tf2.errors import UsageError
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.masks.densecrf import refine_mask
from cmpc_tf2.tasks.masks.metrics import VARIANTS, intersection_and_union
from cmpc_tf2.tasks.masks.prediction import Prediction
from cmpc_tf2.tasks.task import Protocol

# The threshold on logits in the original of CMPC. (`Prediction.mask` has another: probabilities from one half on, at
# the picture's own size.)
SCORE_THRESHOLD = 1e-9


class MaskProtocol(Protocol):
    """A protocol for masks. `shown` is drawn if DenseCRF does not refine it."""

    def score(
        self, sample: Sample, logits: np.ndarray, preprocessing: Preprocessing, dcrf: bool = False
    ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Compares the masks of one expression with its ground truth.

        Args:
            sample: The sample.
            logits: float32 `(S, S)`, of the resized picture.
            preprocessing: How the picture was resized.
            dcrf: Score the mask refined by DenseCRF too.

        Returns:
            The masks by variant: `plain`, that of the original; `own_size`, bool `(h, w)`, as `predict` gives it at the
            picture's own size; with `dcrf` also `dcrf`, bool `(h, w)`. And the record: `intersection` and `union` in
            pixels of each, with the variant's prefix; and `score`, the mean probability in the mask of `own_size`.

        Raises:
            InputError: pydensecrf is not installed.
        """
        prediction = Prediction(expit(logits), sample.mask.shape, preprocessing)
        own_size, score = prediction.scored_mask()
        masks = {"plain": self._plain_mask(sample, logits, preprocessing), "own_size": own_size}
        if dcrf:
            masks["dcrf"] = self._refined_mask(sample, prediction)
        record = {"score": score}
        for variant, mask in masks.items():
            target = self._plain_target(sample, preprocessing) if variant == "plain" else sample.mask
            intersection, union = intersection_and_union(mask, target)
            prefix = VARIANTS[variant].prefix
            record |= {f"{prefix}intersection": intersection, f"{prefix}union": union}
        return masks, record

    @abc.abstractmethod
    def _plain_mask(self, sample: Sample, logits: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
        """The mask that the original counts."""

    @abc.abstractmethod
    def _plain_target(self, sample: Sample, preprocessing: Preprocessing) -> np.ndarray:
        """The ground truth that it compares it with."""

    @abc.abstractmethod
    def _refined_mask(self, sample: Sample, prediction: Prediction) -> np.ndarray:
        """The mask refined by DenseCRF."""


class RimProtocol(MaskProtocol):
    """At the picture's own size: every pixel counts whose interpolated value is not exactly zero, a rim included.

    Source: `test` in `trainval_model.py` of CMPC-Refseg.
    """

    description = "original, rim included"
    shown = "plain"

    def _plain_mask(self, sample: Sample, logits: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
        return self._restore(logits >= SCORE_THRESHOLD, preprocessing, *sample.mask.shape)

    def _plain_target(self, sample: Sample, preprocessing: Preprocessing) -> np.ndarray:
        return sample.mask

    def _refined_mask(self, sample: Sample, prediction: Prediction) -> np.ndarray:
        preprocessing = prediction.preprocessing
        refined = refine_mask(prediction.fitted_probabilities, preprocessing.fit(sample.image))
        return self._restore(refined, preprocessing, *sample.mask.shape)

    def _restore(self, mask: np.ndarray, preprocessing: Preprocessing, height: int, width: int) -> np.ndarray:
        return preprocessing.restore_mask(mask, height, width)


class ExactProtocol(RimProtocol):
    """As `RimProtocol` without the rim: an interpolated value counts from one half on."""

    description = "exact masks, without the interpolated rim"

    def _restore(self, mask: np.ndarray, preprocessing: Preprocessing, height: int, width: int) -> np.ndarray:
        return preprocessing.restore(mask, height, width, border="constant") >= 0.5


class ResizedProtocol(MaskProtocol):
    """At the model's size, against the resized ground truth. DenseCRF, which the original lacks, has the own size.

    Source: `eval.py` of naver-ai/maskris (commit 01b54d5).
    """

    description = "original, at the model's size"
    shown = "own_size"

    def _plain_mask(self, sample: Sample, logits: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
        return logits > 0

    def _plain_target(self, sample: Sample, preprocessing: Preprocessing) -> np.ndarray:
        return preprocessing.fit_mask(sample.mask)

    def _refined_mask(self, sample: Sample, prediction: Prediction) -> np.ndarray:
        return prediction.refined_mask(sample.image)


class OwnSizeProtocol(ResizedProtocol):
    """At the picture's own size, as `own_size`: of models whose maps have that size."""

    description = "original, at the picture's own size"


# By the name that a model gives.
PROTOCOLS = {"rim": RimProtocol(), "resized": ResizedProtocol(), "own_size": OwnSizeProtocol()}


def protocol_of(name: str, exact_masks: bool = False) -> MaskProtocol:
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
