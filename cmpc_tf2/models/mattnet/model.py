"""MAttNet: the detector and the network that chooses among its boxes, in one model."""

from typing import ClassVar

import keras

from cmpc_tf2.fields import FieldError
from cmpc_tf2.models.interface import ReferringInterface
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.models.mattnet.matching_network import MatchingNetwork
from cmpc_tf2.preprocessing.detector_picture import DETECTOR_MEAN
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class MAttNet(ReferringInterface, keras.Model):
    """MAttNet: a picture and an expression in, the mask of one of its objects out.

    Mask R-CNN finds the objects of a picture, once for all expressions about it. A matching network gives each of them
    a score for the expression. The mask that Mask R-CNN has for the best one is the answer. `Predictor` puts the steps
    together; training changes the matching network alone.

    Args: as `ReferringModel`.

    Attributes:
        detector: The `MaskRCNNC4`.
        matching: The `MatchingNetwork`.

    Raises:
        FieldError: The detector gives features of other widths than the matching network takes.

    Source: lichengunc/MAttNet (commit 3204d07); Yu et al., CVPR 2018.
    """

    title = "a MAttNet model"
    config_type = MAttNetConfig
    tokenizer_name = "whitespace"
    protocol_name = "own_size"
    runner = "cmpc_tf2.inference.mattnet:MAttNetRunner"
    preprocessing_options: ClassVar = {"resizing": "none", "channels": "bgr", "mean": DETECTOR_MEAN}
    stages: ClassVar = {"subject": ()}
    detector_type = MaskRCNNC4
    has_fixed_detector = True
    input_name = "image"

    def __init__(
        self,
        config=None,
        vocabulary: list[str] | None = None,
        preprocessing: dict | None = None,
        tokenizer: str | None = None,
        **kwargs,
    ):
        config, tokenizer = self.complete(config, tokenizer)
        backbone = config.detector.backbone
        widths = {"pool5_dim": backbone.channels("c4"), "fc7_dim": backbone.channels("c5")}
        for name, width in widths.items():
            if getattr(config, name) != width:
                raise FieldError(name, f"expected {width}, as the detector gives; received {getattr(config, name)}")
        super().__init__(**kwargs)
        self.set_attributes(config, vocabulary, preprocessing, tokenizer)
        self.detector = MaskRCNNC4(config.detector, name="detector")
        self.matching = MatchingNetwork(config, name="matching")
        self.built = True

    def call(self, inputs):
        """As the matching network."""
        return self.matching(inputs)

    def training_form(self) -> keras.Model:
        """The matching network, of pairs."""
        return self.matching

    def get_backbone(self) -> MaskRCNNC4:
        """The detector with its trained weights, which a checkpoint of the original does not hold."""
        return self.detector
