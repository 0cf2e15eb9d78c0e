"""CMPC-V, assembled from its parts."""

from typing import ClassVar

import keras
from keras import layers, ops

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.layers.level_fusion import LevelFusion
from cmpc_tf2.layers.normalization import l2_normalize
from cmpc_tf2.models.cmpc.config import MUTAN_HEADS
from cmpc_tf2.models.cmpc.expression import parse_expression
from cmpc_tf2.models.cmpc.model import layers_by_level, segment
from cmpc_tf2.models.cmpc.mutan import MutanFusion
from cmpc_tf2.models.cmpc.relation_graph import RelationGraph
from cmpc_tf2.models.cmpc.visual_projection import build_visual_projection, fold_laterals
from cmpc_tf2.models.deeplab_model import DeepLabModel
from cmpc_tf2.text.word_types import WordType
from cmpc_video_tf2.config import CLIP_FRAMES, CMPCVideoConfig
from cmpc_video_tf2.models.clip_taps import build_backbone, clip_taps
from cmpc_video_tf2.models.package import PACKAGE
from cmpc_video_tf2.models.temporal_graph import TemporalContext, TemporalGraph


@keras.saving.register_keras_serializable(package=PACKAGE)
class CMPCVideo(DeepLabModel):
    """Cross-Modal Progressive Comprehension for video (CMPC-V): a clip and an expression in, a mask of the annotated
    frame out.

    As `CMPC`, a clip encoder followed by an expression decoder: several expressions about one clip share its encoding.
    `config.backbone_type` chooses the backbone. That on I3D was never released: `docs/video.md` lists which parts of it
    are known.

    Args:
        config: Sizes; a `CMPCVideoConfig` or its `to_dict()`.
        vocabulary: The words by token id, saved with the model; None if unknown.

    Call arguments (a dict):
        clip: float32 `(B, 16, S, S, 3)` with S = `config.image_size`, around the annotated frame; BGR, 0 to 255, minus
            the mean. R2D reads frames 0, 4, 8, 12 and 15, I3D all.
        token_ids: int32 `(B, T)`, left-padded with 0.

    Returns:
        As `CMPC`: `mask_logits` and the side outputs, float32 `(B, S, S, 1)`, of the annotated frame.

    Source: `CMPC_video/CMPC_video_mm_tgraph_allvec.py` of CMPC-Refseg (commit 094639b); Liu et al., TPAMI 2021.

    Differs from TF1: every sample of a batch gets what it would get alone. Tested by `tests/video/test_cmpc_video.py`.
    """

    title = "a CMPC-V (video) model"
    config_type = CMPCVideoConfig
    stages: ClassVar = {
        "entities": layers_by_level("annotated"),
        "relations": layers_by_level("relation_graph"),
        "actions": layers_by_level("temporal_context"),
    }

    @staticmethod
    def build_visual_projection(config: CMPCVideoConfig) -> keras.Model:
        return build_visual_projection(config, with_laterals=True)

    def inference_projection(self) -> keras.Model:
        return fold_laterals(super().inference_projection(), self.config)

    @staticmethod
    def build_backbone(config: CMPCVideoConfig) -> Backbone:
        return build_backbone(config)

    @staticmethod
    def connect_encoder(config: CMPCVideoConfig, backbone: Backbone, projection: keras.Model) -> keras.Model:
        """Clips to `visual_c3`, ...: `(B, steps, h, w, heads, C)`, and `lateral_c3`, ... of the annotated frame."""
        clip = keras.Input((CLIP_FRAMES, config.image_size, config.image_size, 3), name="clip")
        features = projection(clip_taps(config, backbone, clip))
        outputs = {}
        for level in config.backbone.levels:
            visual, lateral = features[f"visual_{level}"], features[f"lateral_{level}"]
            steps = config.steps(level)
            outputs[f"visual_{level}"] = ops.reshape(visual, (-1, steps, *visual.shape[1:]))
            lateral = ops.reshape(lateral, (-1, steps, *lateral.shape[1:]))
            outputs[f"lateral_{level}"] = annotated_features(lateral, config.annotated_weights(level))
        return keras.Model(clip, outputs, name="image_encoder")

    @staticmethod
    def build_expression_decoder(config: CMPCVideoConfig) -> keras.Model:
        """The outputs of `connect_encoder`, and `token_ids` -> the mask logits of `CMPCVideo`.

        The features may have batch size 1 with any number of expressions: they are broadcast.
        """
        size, channels, levels = config.grid_size, config.feature_dim, config.backbone.levels
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        visual = {
            level: keras.Input((config.steps(level), size, size, MUTAN_HEADS, channels), name=f"visual_{level}")
            for level in levels
        }
        lateral = {level: keras.Input((size, size, channels), name=f"lateral_{level}") for level in levels}

        expression = parse_expression(token_ids, config)
        entity_attribute = expression.pool("entity_attribute_feature", WordType.ENTITY, WordType.ATTRIBUTE)
        action = expression.pool("action_feature", WordType.ACTION)
        necessary = expression.pool_necessary()
        relation_probs = expression.probability(WordType.RELATION)

        features = {}
        for level in levels:
            entities = MutanFusion(name=f"mutan_{level}")(visual[level], entity_attribute)
            nodes = TemporalGraph(name=f"temporal_graph_{level}")(entities, action)
            annotated = annotated_features(entities, config.annotated_weights(level))
            annotated = layers.Identity(name=f"annotated_{level}")(annotated)
            context = TemporalContext(name=f"temporal_context_{level}")(annotated, nodes)
            graph = RelationGraph(name=f"relation_graph_{level}")
            related = graph(annotated, expression.words, relation_probs, expression.is_word)
            maps = [lateral[level], related, context]
            features[level] = LevelFusion(config.fusion_dim, name=f"fusion_{level}")(maps, necessary)

        inputs = {f"visual_{level}": visual[level] for level in levels}
        inputs |= {f"lateral_{level}": lateral[level] for level in levels}
        return keras.Model(
            {**inputs, "token_ids": token_ids}, segment(features, necessary, config), name="expression_decoder"
        )


def annotated_features(features, weights: list[float]):
    """The features of the annotated frame: a weighted sum over the time steps, of unit norm again.

    Args:
        features: `(B, steps, h, w, C)`, of unit norm.
        weights: One for each step, from `CMPCVideoConfig.annotated_weights`.

    Returns:
        `(B, h, w, C)`.
    """
    if 1.0 in weights:
        return features[:, weights.index(1.0)]
    total = sum(weight * features[:, index] for index, weight in enumerate(weights) if weight)
    return l2_normalize(total)
