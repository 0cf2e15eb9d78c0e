"""CMPC-I, assembled from its parts."""

from typing import ClassVar

import keras
from keras import layers

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.layers.conv_lstm import PeepholeConvLSTM
from cmpc_tf2.layers.level_fusion import LevelFusion
from cmpc_tf2.layers.normalization import L2Normalize
from cmpc_tf2.layers.upsampling import LegacyBilinearResize
from cmpc_tf2.models.cmpc.config import MUTAN_HEADS, CMPCConfig
from cmpc_tf2.models.cmpc.exchange import TextGuidedExchange
from cmpc_tf2.models.cmpc.expression import parse_expression
from cmpc_tf2.models.cmpc.mutan import MutanFusion
from cmpc_tf2.models.cmpc.relation_graph import RelationGraph
from cmpc_tf2.models.cmpc.visual_projection import build_visual_projection, fold_laterals
from cmpc_tf2.models.deeplab_model import DeepLabModel
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.word_types import WordType

EXCHANGE_ROUNDS = 2
# Everything after the fusion of each level is computed in float32 in every precision. It is a tenth of the arithmetic,
# but its rounding would move three times as many pixels across the threshold as that of all the rest.
HEAD_DTYPE = "float32"


def layers_by_level(name: str) -> tuple[str, ...]:
    """The names of the layers that exist once per level."""
    return tuple(f"{name}_{level}" for level in DeepLabResNetConfig.levels)


@keras.saving.register_keras_serializable(package=PACKAGE)
class CMPC(DeepLabModel):
    """Cross-Modal Progressive Comprehension for images (CMPC-I): a picture and an expression in, a mask out.

    The model is an image encoder followed by an expression decoder. The encoder is everything that does not depend on
    words (four fifths of the arithmetic), so one encoding serves any number of expressions:

    ```python
    model = CMPC(CMPCConfig())
    out = model({"image": image, "token_ids": token_ids})

    features = model.image_encoder(image)                                    # once per picture: (1, ...)
    out = model.expression_decoder({**features, "token_ids": token_ids})     # any number of expressions of it
    ```

    Args:
        config: Sizes; a `CMPCConfig` or its `to_dict()`.
        vocabulary: The words by token id, saved with the model; None if unknown.

    Call arguments (a dict):
        image: float32 `(B, S, S, 3)` with S = `config.image_size`; BGR, 0 to 255, minus the mean
            (`model.preprocessing`).
        token_ids: int32 `(B, T)` with T = `config.max_words`, left-padded with 0.

    Returns:
        A dict of float32 `(B, S, S, 1)` logits: `mask_logits`, and the side outputs of the three levels
        `mask_logits_c3`, `mask_logits_c4`, `mask_logits_c5`, which exist for training.

    Source: `CMPC_model.py` of CMPC-Refseg (commit 094639b); Huang et al., CVPR 2020, as updated by its authors.

    Differs from TF1: every sample of a batch gets what it would get alone. The original is right at batch size 1 only.
    Tested by `tests/models/test_cmpc.py`.
    """

    title = "a CMPC model"
    config_type = CMPCConfig
    stages: ClassVar = {"entities": layers_by_level("mutan"), "relations": layers_by_level("relation_graph")}

    @staticmethod
    def build_visual_projection(config: CMPCConfig) -> keras.Model:
        return build_visual_projection(config)

    def inference_projection(self) -> keras.Model:
        return fold_laterals(super().inference_projection(), self.config)

    @staticmethod
    def build_expression_decoder(config: CMPCConfig) -> keras.Model:
        """`visual_c3`, `visual_c4`, `visual_c5` and `token_ids` -> the mask logits of `CMPC`.

        The visual features may have batch size 1 with any number of expressions: they are broadcast.
        """
        size = config.grid_size
        visual = {
            level: keras.Input((size, size, MUTAN_HEADS, config.feature_dim), name=f"visual_{level}")
            for level in config.backbone.levels
        }
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")

        expression = parse_expression(token_ids, config)
        entity_attribute = expression.pool("entity_attribute_feature", WordType.ENTITY, WordType.ATTRIBUTE)
        relation_probs = expression.probability(WordType.RELATION)

        features = {}
        for level in visual:
            entities = MutanFusion(name=f"mutan_{level}")(visual[level], entity_attribute)
            maps = [entities]
            if "relation_graph" not in config.without:
                graph = RelationGraph(name=f"relation_graph_{level}")
                maps.append(graph(entities, expression.words, relation_probs, expression.is_word))
            features[level] = LevelFusion(config.fusion_dim, name=f"fusion_{level}")(maps, entity_attribute)

        outputs = segment(features, expression.pool_necessary(), config)
        inputs = {f"visual_{level}": features for level, features in visual.items()}
        return keras.Model({**inputs, "token_ids": token_ids}, outputs, name="expression_decoder")


def segment(features: dict, sentence, config: CMPCConfig) -> dict:
    """Level features to mask logits: exchange between the levels, fusion by the ConvLSTM, scores.

    Args:
        features: A map `(B, h, w, C)` for each level.
        sentence: `(B, S)`, guides the exchange.
        config: Sizes.

    Returns:
        The outputs of `CMPC`.
    """
    upsample = LegacyBilinearResize(config.image_size, dtype=HEAD_DTYPE, name="upsample")

    def score(x, name):
        return upsample(layers.Conv2D(1, 3, padding="same", dtype=HEAD_DTYPE, name=name)(x))

    outputs = {f"mask_logits_{level}": score(features[level], f"score_{level}") for level in features}
    rounds = 0 if "exchange" in config.without else EXCHANGE_ROUNDS
    for round_number in range(1, rounds + 1):
        features = exchange(features, sentence, round_number)
    fused = PeepholeConvLSTM(config.fusion_dim, dtype=HEAD_DTYPE, name="conv_lstm")(list(features.values()))
    outputs["mask_logits"] = score(fused, "score")
    return outputs


def exchange(features: dict, sentence, round_number: int) -> dict:
    """One round: every level receives from the other two, as they were after the round before."""
    exchanged = {}
    for level in features:
        sources = [source for source in features if source != level]
        name = f"exchange_{level}_round{round_number}"
        layer = TextGuidedExchange(sources, dtype=HEAD_DTYPE, name=name)
        x = layer(features[level], [features[s] for s in sources], sentence)
        exchanged[level] = L2Normalize(dtype=HEAD_DTYPE, name=f"{name}_norm")(x)
    return exchanged
