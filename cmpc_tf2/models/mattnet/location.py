"""The location module: where a box is in the picture, and among those of its category."""

from keras import ops

from cmpc_tf2.models.mattnet.matching import ScaledUnitLength, joint_embedding
from cmpc_tf2.text.phrases import dense

NAME = "loc_encoder"


def location_features(lfeats, dif_lfeats, joint_dim: int):
    """The places of boxes in the common space, the part that depends on the boxes alone.

    Args:
        lfeats: `(B, n, 5)`, the place of each box in its picture.
        dif_lfeats: `(B, n, 25)`, the places of five others, seen from it.
        joint_dim: Width of the space in which boxes and phrases are compared.

    Returns:
        Vectors of unit length, `(B, n, joint_dim)`.
    """
    own = ScaledUnitLength(name=f"{NAME}.lfeat_normalizer")(lfeats)
    others = ScaledUnitLength(name=f"{NAME}.dif_lfeat_normalizer")(dif_lfeats)
    both = ops.concatenate([own, others], axis=-1)
    return joint_embedding(dense(joint_dim, both.shape[-1], f"{NAME}.fc")(both), joint_dim, "loc_matching.vis_emb_fc")


def location_scores(location, phrase, joint_dim: int):
    """How well the places of boxes, `(B, n, joint_dim)`, fit the phrase, `(S, C)`: cosines `(S, n)`; B = S or 1."""
    phrases = joint_embedding(phrase, joint_dim, "loc_matching.lang_emb_fc")
    return ops.sum(location * phrases[:, None], axis=-1)
