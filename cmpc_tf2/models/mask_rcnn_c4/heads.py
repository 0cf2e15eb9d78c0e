"""What Mask R-CNN computes from its feature map and from the features of boxes. Layers are named as in checkpoints."""

import keras
from keras import layers, ops

from cmpc_tf2.models.mask_rcnn_c4.anchors import COUNT
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config

# Of the weights of the layers that predict.
_SMALL = keras.initializers.RandomNormal(stddev=0.01)
_SMALLER = keras.initializers.RandomNormal(stddev=0.001)


def build_rpn(config: MaskRCNNC4Config) -> keras.Model:
    """The region proposal network.

    Returns:
        A model from the feature map, `(B, h, w, C)`, to a dict of `logits`, `(B, h, w, 24)`, of the background for each
        anchor and then of the foreground, and `offsets`, `(B, h, w, 48)`, four for each anchor.
    """
    features = keras.Input((None, None, config.backbone.channels("c4")), name="features")
    x = layers.Conv2D(config.rpn_dim, 3, padding="same", activation="relu", kernel_initializer=_SMALL, name="rpn_net")(
        features
    )
    outputs = {
        output: layers.Conv2D(filters, 1, kernel_initializer=_SMALL, dtype="float32", name=name)(x)
        for output, filters, name in (
            ("logits", 2 * COUNT, "rpn_cls_score_net"),
            ("offsets", 4 * COUNT, "rpn_bbox_pred_net"),
        )
    }
    return keras.Model(features, outputs, name="rpn")


def build_box_head(config: MaskRCNNC4Config) -> keras.Model:
    """The classes of boxes, and better boxes for each class.

    Returns:
        A model from the features of boxes behind the last stage, `(n, 7, 7, C)`, to a dict of `logits`, `(n, classes)`,
        and `offsets`, `(n, classes, 4)`, to be multiplied by `OFFSET_SCALES`. Class 0 is the background.
    """
    features = keras.Input((None, None, config.backbone.channels("c5")), name="features")
    mean = ops.mean(features, axis=(1, 2))
    logits, offsets = (
        layers.Dense(units, kernel_initializer=initializer, dtype="float32", name=name)(mean)
        for units, initializer, name in (
            (config.classes, _SMALL, "cls_score_net"),
            (4 * config.classes, _SMALLER, "bbox_pred_net"),
        )
    )
    outputs = {"logits": logits, "offsets": ops.reshape(offsets, (-1, config.classes, 4))}
    return keras.Model(features, outputs, name="box_head")


def build_mask_head(config: MaskRCNNC4Config) -> keras.Model:
    """The masks of boxes.

    Returns:
        A model from the features of boxes behind the last stage, `(n, 7, 7, C)`, to the logits of a mask for each
        class, `(n, 14, 14, classes)`.
    """
    features = keras.Input((None, None, config.backbone.channels("c5")), name="features")
    x = layers.Conv2DTranspose(
        config.mask_dim, 2, strides=2, activation="relu", kernel_initializer=_SMALL, name="mask_up_sampling"
    )(features)
    logits = layers.Conv2D(config.classes, 1, kernel_initializer=_SMALL, dtype="float32", name="mask_pred_net")(x)
    return keras.Model(features, logits, name="mask_head")
