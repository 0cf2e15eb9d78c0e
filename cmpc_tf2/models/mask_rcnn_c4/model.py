"""Mask R-CNN C4: assembly."""

import keras
from keras import ops

from cmpc_tf2.backbones.resnet_c4 import ResNetC4, build_last_stage, fold_into
from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.layers.keras_file_model import KerasFileModel
from cmpc_tf2.models.mask_rcnn_c4.anchors import COUNT, STRIDE, anchors
from cmpc_tf2.models.mask_rcnn_c4.boxes import clip, decode
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config
from cmpc_tf2.models.mask_rcnn_c4.heads import build_box_head, build_mask_head, build_rpn
from cmpc_tf2.models.mask_rcnn_c4.tensorflow_operations import crop, suppress
from cmpc_tf2.precision import building_with
from cmpc_tf2.registration import PACKAGE

# Overlap at which a proposal is left out.
PROPOSAL_OVERLAP = 0.7
# Points along a side of the features of a box.
GRID = 7


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskRCNNC4(KerasFileModel, keras.Model):
    """Mask R-CNN on the map after stage 3 of a ResNet; stage 4 runs on the features of each box.

    Its parts are called one after the other, because models that use it change the feature map, or bring boxes of their
    own. Everything behind the backbone is a function of the feature map.

    ```python
    features = model(image)
    boxes = model.propose(model.rpn(features), height, width)
    pooled = model.pool(features, boxes)
    outputs = model.box_head(model.last_stage(pooled))
    ```

    Source: `lib/nets/network.py` of lichengunc/mask-faster-rcnn (commit 45e2818); He et al., arXiv 1703.06870.

    Differs from the original: it pools by bilinear samples without a maximum, as its configuration `crop` without
    `max_pool` does; its other ways of pooling are not here.

    Args:
        config: Sizes.
        folded: True builds the inference form: each batch norm is folded into its convolution.

    Call arguments:
        image: float32 `(1, H, W, 3)`, BGR minus mean, scaled.

    Returns:
        The feature map, `(1, ceil(H/16), ceil(W/16), C)` with C of 1024 at the default sizes.

    Attributes:
        backbone: A picture to the feature map, in a dict.
        rpn: The feature map to scores and offsets of anchors.
        last_stage: Pooled features of boxes to those that the heads take.
        box_head: These to logits of classes and offsets of boxes.
        mask_head: These to logits of masks.
    """

    title = "a Mask R-CNN C4 detector"
    config_type = MaskRCNNC4Config

    def __init__(self, config: MaskRCNNC4Config | dict | None = None, folded: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, MaskRCNNC4Config) else MaskRCNNC4Config(**(config or {}))
        self.folded = folded
        self.backbone = ResNetC4(self.config.backbone, folded, name="backbone")
        self.last_stage = build_last_stage(self.config.backbone, folded)
        self.rpn = build_rpn(self.config)
        self.box_head = build_box_head(self.config)
        self.mask_head = build_mask_head(self.config)
        self.built = True

    def call(self, image):
        return self.backbone(image)["c4"]

    def propose(self, rpn_outputs: dict, height, width, training: bool = False):
        """Boxes that may hold an object. No gradient goes through them.

        Args:
            rpn_outputs: From `rpn`, of one picture.
            height: Rows of the scaled picture.
            width: Its columns.
            training: Propose as many as training takes.

        Returns:
            float32 `(n, 4)`, in pixels of the scaled picture, by falling score.
        """
        logits, offsets = (ops.stop_gradient(rpn_outputs[name]) for name in ("logits", "offsets"))
        scores = ops.softmax(ops.reshape(logits, (-1, 2, COUNT)), axis=1)[:, 1]
        starts = anchors(*ops.shape(logits)[1:3])
        boxes = clip(decode(starts, ops.reshape(offsets, (-1, 4))), height, width)
        counts = self.config.proposal_counts(training)
        return suppress(boxes, ops.reshape(scores, (-1,)), PROPOSAL_OVERLAP, *counts)

    def pool(self, features, boxes):
        """Features of boxes before the last stage.

        Args:
            features: The feature map, `(1, h, w, C)`.
            boxes: float32 `(n, 4)`, in pixels of the scaled picture.

        Returns:
            `(n, 7, 7, C)`.
        """
        return crop(features, boxes, STRIDE, GRID)

    def inference_form(self) -> "MaskRCNNC4":
        """A faster copy that computes the same function; not to be trained."""
        if self.folded:
            return self
        with building_with(self.rpn.get_layer("rpn_net").dtype_policy), giving_weights():
            folded = MaskRCNNC4(self.config, folded=True, name=self.name)
            fold_into(folded.backbone, self.backbone)
            fold_into(folded.last_stage, self.last_stage)
            for part in ("rpn", "box_head", "mask_head"):
                give(getattr(folded, part), getattr(self, part).get_weights())
        return folded

    def get_config(self):
        return {"config": self.config.to_dict(), "folded": self.folded, "name": self.name}
