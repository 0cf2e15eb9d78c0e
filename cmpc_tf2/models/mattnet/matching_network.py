"""The network that matches boxes and expressions, assembled from its modules."""

from typing import ClassVar

import keras
from keras import ops

from cmpc_tf2.layers.keras_file_model import KerasFileModel
from cmpc_tf2.models.mattnet.config import CELLS, MAttNetConfig
from cmpc_tf2.models.mattnet.location import location_features, location_scores
from cmpc_tf2.models.mattnet.relationship import relationship_features, relationship_scores
from cmpc_tf2.models.mattnet.subject import subject_features, subject_scores
from cmpc_tf2.precision import exact_dtype
from cmpc_tf2.preprocessing.box_geometry import NEIGHBOURS, PLACE_NUMBERS
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.phrases import PhraseAttention, SentenceEncoder, dense

# Call arguments that the modules of location and relationship see.
PLACES_AND_CONTEXTS = ("lfeats", "dif_lfeats", "cxt_fc7", "cxt_lfeats")
# Names of the modules in the order of their weights.
MODULES = ("subject", "location", "relationship")


@keras.saving.register_keras_serializable(package=PACKAGE)
class MatchingNetwork(KerasFileModel, keras.Model):
    """MAttNet without its detector: features of boxes and expressions in, a score for each box out.

    An expression is split softly into phrases for its subject, its location and its relationship. For each of them a
    module gives every box the cosine of box and phrase. The score of a box is their weighted sum; the weights follow
    from the expression.

    What depends on the boxes alone is computed once for all expressions about a picture: `encode`, then `decode`. To
    train, and to score pairs, the whole network takes S pairs of a box and an expression, with n = 1. A box of several
    pairs is given once, and its subject is encoded once: `rows` tells which box a pair has.

    Args:
        config: Sizes; a `MAttNetConfig` or its `to_dict()`.

    Attributes:
        config: Sizes.
        box_encoder: The part that depends on the boxes alone.
        expression_decoder: The other part; its inputs are the outputs of `box_encoder` without `attributes`, and
            `token_ids`.

    Call arguments (a dict); n boxes of each of B pictures, K = `config.contexts`:
        pool5: `(B, n, 49, pool5_dim)`, the cells of a box's features, row by row.
        fc7: `(B, n, 49, fc7_dim)`, likewise.
        lfeats: `(B, n, 5)`, the place of a box (`preprocessing/box_geometry.py`).
        dif_lfeats: `(B, n, 25)`, the places of five neighbours.
        cxt_fc7: `(B, n, K, fc7_dim)`, `fc7` of K other boxes, averaged over their cells; zeros where there are fewer.
        cxt_lfeats: `(B, n, K, 5)`, their places; zeros where there are fewer.
        rows: int32 `(R,)`, from 0 to B - 1: which of the B pictures an expression is about. R = S; or 1, if all are
            about the same.
        token_ids: int32 `(S, T)` with T = `config.max_words`, padded on the right with 0.

    Returns:
        A dict, float32 or the dtype of the model:
            scores: `(S, n)`, from -1 to 1.
            weights: `(S, 3)`, of the modules.
            module_scores: `(S, n, 3)`, the cosines.
            word_attention: `(S, 3, T)`, the weights of the words for the modules.
            grid_attention: `(S, n, 49)`, the weights of the cells for the subject.
            context: int32 `(S, n)`, which of the K other boxes the relationship is to. If its cosine is 0, there is
                none.
            attributes: `(R, n, attributes)`, logits.

    Source: `JointMatching` in `lib/layers/joint_match.py` of lichengunc/MAttNet (commit 3204d07); Yu et al., CVPR 2018.
    """

    title: ClassVar[str] = "a matching network of MAttNet"
    config_type: ClassVar[type] = MAttNetConfig

    def __init__(self, config: MAttNetConfig | dict | None = None, **kwargs):
        config = config if isinstance(config, MAttNetConfig) else MAttNetConfig(**(config or {}))
        encoder, decoder = box_encoder(config), expression_decoder(config)
        inputs = encoder.input
        # The other modules cost little, and their dropout is that of pairs.
        encoded = encoder({**inputs, **_take(inputs, PLACES_AND_CONTEXTS, inputs["rows"])})
        encoded |= _take(encoded, ("visual", "projected"), inputs["rows"])
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        decoded = decoder({**_without_attributes(encoded), "token_ids": token_ids})
        outputs = {**decoded, "attributes": encoded["attributes"]}
        super().__init__({**inputs, "token_ids": token_ids}, outputs, **kwargs)
        self.config = config
        self.box_encoder = encoder
        self.expression_decoder = decoder

    def encode(self, features: dict) -> dict:
        """What depends on the boxes alone.

        Args:
            features: The call arguments without `rows` and `token_ids`.

        Returns:
            The encoded boxes, which `decode` takes, with `attributes`.
        """
        inputs = {name: ops.convert_to_tensor(value) for name, value in features.items()}
        return self.box_encoder({**inputs, "rows": ops.arange(ops.shape(inputs["fc7"])[0], dtype="int32")})

    def decode(self, encoded: dict, token_ids) -> dict:
        """The outputs, without `attributes`, for any number of expressions about encoded boxes."""
        token_ids = ops.convert_to_tensor(token_ids, "int32")
        return self.expression_decoder({**_without_attributes(encoded), "token_ids": token_ids})

    def get_config(self):
        return {"config": self.config.to_dict(), "name": self.name}


def _take(values: dict, names: tuple[str, ...], rows) -> dict:
    return {name: ops.take(values[name], rows, axis=0) for name in names}


def _without_attributes(encoded: dict) -> dict:
    return {name: value for name, value in encoded.items() if name != "attributes"}


def box_encoder(config: MAttNetConfig) -> keras.Model:
    """The part that depends on the boxes alone.

    Args:
        config: Sizes.

    Returns:
        A model from the call arguments of `MatchingNetwork` without `token_ids`, those of places and contexts with R
        rows, to `visual` and `projected`, `(B, n, ...)`; and to `attributes`, `location`, `relationship` and
        `is_context`, `(R, n, ...)`.
    """
    shapes = {
        "pool5": (None, CELLS, config.pool5_dim),
        "fc7": (None, CELLS, config.fc7_dim),
        "lfeats": (None, PLACE_NUMBERS),
        "dif_lfeats": (None, NEIGHBOURS * PLACE_NUMBERS),
        "cxt_fc7": (None, config.contexts, config.fc7_dim),
        "cxt_lfeats": (None, config.contexts, PLACE_NUMBERS),
    }
    inputs = {name: keras.Input(shape, dtype=exact_dtype(), name=name) for name, shape in shapes.items()}
    rows = keras.Input((), dtype="int32", name="rows")
    joint_dim = config.joint_dim
    subject = subject_features(inputs["pool5"], inputs["fc7"], rows, joint_dim, config.word_dim, config.attributes)
    location = location_features(inputs["lfeats"], inputs["dif_lfeats"], joint_dim)
    relationship = relationship_features(inputs["cxt_fc7"], inputs["cxt_lfeats"], joint_dim)
    return keras.Model({**inputs, "rows": rows}, {**subject, "location": location, **relationship}, name="box_encoder")


def expression_decoder(config: MAttNetConfig) -> keras.Model:
    """The part that depends on the expression too. The boxes of one picture serve any number of expressions.

    Args:
        config: Sizes.

    Returns:
        A model from the outputs of `box_encoder` without `attributes`, and `token_ids`, to the outputs of
        `MatchingNetwork` without `attributes`.
    """
    joint_dim, contexts = config.joint_dim, config.contexts
    shapes = {
        "visual": (None, CELLS, config.fc7_dim + joint_dim),
        "projected": (None, CELLS, joint_dim),
        "location": (None, joint_dim),
        "relationship": (None, contexts, joint_dim),
        "is_context": (None, contexts),
    }
    exact = exact_dtype()
    inputs = {name: keras.Input(shape, dtype=exact, name=name) for name, shape in shapes.items()}
    token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")

    sizes = config.vocabulary_size, config.embedding_dim, config.word_dim, config.lstm_units
    words = SentenceEncoder(*sizes, name="rnn_encoder")(token_ids)
    weights = dense(len(MODULES), 2 * config.lstm_units, "weight_fc", dtype=exact)(words["sentence"])
    weights = ops.softmax(weights)
    word_inputs = words["context"], words["embedded"], words["is_word"]
    phrases = [PhraseAttention(name=name)(*word_inputs) for name in ("sub_attn", "loc_attn", "rel_attn")]
    (of_subject, _), (of_location, _), (of_relationship, _) = phrases

    subject, grid_attention = subject_scores(inputs["visual"], inputs["projected"], of_subject, joint_dim)
    location = location_scores(inputs["location"], of_location, joint_dim)
    relationship, context = relationship_scores(
        inputs["relationship"], inputs["is_context"], of_relationship, joint_dim
    )
    module_scores = ops.cast(ops.stack([subject, location, relationship], axis=-1), exact)
    outputs = {
        "scores": ops.sum(weights[:, None] * module_scores, axis=-1),
        "weights": weights,
        "module_scores": module_scores,
        "word_attention": ops.cast(ops.stack([attention for _, attention in phrases], axis=1), exact),
        "grid_attention": ops.cast(grid_attention, exact),
        "context": context,
    }
    return keras.Model({**inputs, "token_ids": token_ids}, outputs, name="expression_decoder")
