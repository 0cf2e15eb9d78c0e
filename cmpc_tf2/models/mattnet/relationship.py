"""The relationship module: the other boxes that a box stands in relation to."""

from keras import ops

from cmpc_tf2.models.mattnet.matching import ScaledUnitLength, joint_embedding
from cmpc_tf2.text.phrases import dense

NAME = "rel_encoder"


def relationship_features(cxt_fc7, cxt_lfeats, joint_dim: int) -> dict:
    """The part that depends on the boxes alone.

    Args:
        cxt_fc7: `(B, n, K, D)`, what K other boxes show; zeros where there are fewer.
        cxt_lfeats: `(B, n, K, 5)`, their places, seen from the box; zeros where there are fewer.
        joint_dim: Width of the space in which boxes and phrases are compared.

    Returns:
        `relationship`, vectors of unit length, `(B, n, K, joint_dim)`, and `is_context`, 1 for boxes and 0 where there
        are fewer, `(B, n, K)`.
    """
    shown = ScaledUnitLength(name=f"{NAME}.vis_feat_normalizer")(cxt_fc7)
    places = ScaledUnitLength(name=f"{NAME}.lfeat_normalizer")(cxt_lfeats)
    both = ops.concatenate([shown, places], axis=-1)
    fused = dense(joint_dim, both.shape[-1], f"{NAME}.fc")(both)
    return {
        # In training, missing boxes are part of the batch statistics: the original has them there.
        "relationship": joint_embedding(fused, joint_dim, "rel_matching.vis_emb_fc"),
        "is_context": ops.cast(ops.sum(cxt_lfeats, axis=-1) != 0, cxt_lfeats.dtype),
    }


def relationship_scores(relationship, is_context, phrase, joint_dim: int) -> tuple:
    """How well the other boxes fit the phrase of the relationship.

    A missing box counts as 0: it wins over boxes with negative cosines.

    Args:
        relationship: As `relationship_features` returns it; B pictures or 1.
        is_context: As `relationship`.
        phrase: `(S, C)`.
        joint_dim: Width of the space in which boxes and phrases are compared.

    Returns:
        Cosines of the best of the other boxes, `(S, n)`, and its number from 0, int32 `(S, n)`.
    """
    contexts = relationship.shape[2]
    # A phrase counts once for each of the other boxes: so the original has it in its statistics and in its dropout.
    repeated = ops.repeat(phrase[:, None, None], contexts, axis=2)
    phrases = joint_embedding(repeated, joint_dim, "rel_matching.lang_emb_fc")
    cosines = ops.sum(relationship * phrases, axis=-1) * is_context
    return ops.max(cosines, axis=-1), ops.cast(ops.argmax(cosines, axis=-1), "int32")
