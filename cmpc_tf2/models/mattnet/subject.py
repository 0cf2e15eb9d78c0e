"""The subject module: what a box shows, where the phrase of the subject looks at it."""

import keras
from keras import layers, ops

from cmpc_tf2.models.mattnet.matching import RowCounts, RowMeans, ScaledUnitLength, batch_norm, joint_embedding
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.phrases import dense

NAME = "sub_encoder"


def subject_features(pool5, fc7, rows, joint_dim: int, word_dim: int, attributes: int) -> dict:
    """The part that depends on the boxes alone.

    Args:
        pool5: `(B, n, 49, C)`, n boxes of a picture.
        fc7: `(B, n, 49, D)`.
        rows: int32 `(R,)`, which of the B are those of pairs. In batch statistics, each counts as often as it is there.
        joint_dim: Width of the space in which boxes and phrases are compared.
        word_dim: Width of the phrase.
        attributes: Number of attributes.

    Returns:
        `attributes`, logits, `(R, n, attributes)`; `visual`, the cells, `(B, n, 49, D + joint_dim)`; and `projected`,
        their share of the attention's hidden layer, `(B, n, 49, joint_dim)`.
    """
    repeats = RowCounts()(rows, pool5)
    pool5 = ScaledUnitLength(name=f"{NAME}.pool5_normalizer")(pool5)
    fc7 = ScaledUnitLength(name=f"{NAME}.fc7_normalizer")(fc7)
    both = ops.concatenate([pool5, fc7], axis=-1)
    fused = dense(joint_dim, both.shape[-1], f"{NAME}.att_fuse.0")(both)
    fused = ops.relu(batch_norm(f"{NAME}.att_fuse.1")(fused, repeats=repeats))
    pooled = layers.Dropout(0.2, name=f"{NAME}.att_dropout")(RowMeans()(rows, fused))
    visual = ops.concatenate([fc7, ScaledUnitLength(name=f"{NAME}.att_normalizer")(fused)], axis=-1)
    project = dense(joint_dim, visual.shape[-1] + word_dim, f"{NAME}.attn_fuse.0.visual", use_bias=False)
    return {
        "attributes": dense(attributes, joint_dim, f"{NAME}.att_fc")(pooled),
        "visual": visual,
        "projected": project(visual),
    }


def subject_scores(visual, projected, phrase, joint_dim: int) -> tuple:
    """How well boxes fit the phrase of the subject.

    Args:
        visual: As `subject_features` returns it; B pictures or 1.
        projected: As `visual`.
        phrase: `(S, C)`.
        joint_dim: Width of the space in which boxes and phrases are compared.

    Returns:
        Cosines, `(S, n)`, and the attention to the cells, `(S, n, 49)`.
    """
    scaled = ScaledUnitLength(name=f"{NAME}.phrase_normalizer")(phrase)
    # The boxes' share of this product is in `projected`: it is the same for all phrases.
    query = dense(joint_dim, visual.shape[-1] + phrase.shape[-1], f"{NAME}.attn_fuse.0")(scaled)
    feature, attention = GridAttention(name=f"{NAME}.attn_fuse")(query, projected, visual)
    boxes = joint_embedding(feature, joint_dim, "sub_matching.vis_emb_fc")
    phrases = joint_embedding(phrase, joint_dim, "sub_matching.lang_emb_fc")
    return ops.sum(boxes * phrases[:, None], axis=-1), attention


@keras.saving.register_keras_serializable(package=PACKAGE)
class GridAttention(layers.Layer):
    """The cells of boxes that a phrase looks at, as one vector for each box.

        weights = softmax(w tanh(projected + query) + b)

    Source: `SubjectEncoder` in `lib/layers/visual_encoder.py` of lichengunc/MAttNet (commit 3204d07).

    Call arguments:
        query: `(S, J)`.
        projected: `(B, n, N, J)`, with B = S or 1.
        visual: `(B, n, N, C)`, which the weights apply to.

    Returns:
        The vectors, `(S, n, C)`, and the weights, `(S, n, N)`.
    """

    def build(self, query_shape, projected_shape, visual_shape=None):
        self.fc = dense(1, query_shape[-1], "2", dtype=self.dtype_policy)
        self.fc.build(projected_shape)

    def call(self, query, projected, visual):
        hidden = ops.tanh(projected + query[:, None, None])
        weights = ops.softmax(self.fc(hidden)[..., 0], axis=-1)
        # One product for each box, of all its phrases and its cells.
        pictures, boxes, cells, channels = ops.shape(visual)
        by_box = ops.transpose(ops.reshape(weights, (pictures, -1, boxes, cells)), (0, 2, 1, 3))
        pooled = ops.transpose(ops.matmul(by_box, visual), (0, 2, 1, 3))
        return ops.reshape(pooled, (-1, boxes, channels)), weights
