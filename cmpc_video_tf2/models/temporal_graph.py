"""Action-aware reasoning over the frames of a clip."""

import math

import keras
from keras import layers, ops

from cmpc_tf2.layers.affinity import projected_affinity
from cmpc_tf2.layers.normalization import l2_normalize, softmax
from cmpc_tf2.models.cmpc.relation_graph import GraphConvolution
from cmpc_video_tf2.models.package import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class TemporalGraph(keras.layers.Layer):
    """One node per frame, pooled where the action words look, and messages between the nodes.

    With the cells m_f (N x C) of frame f and the action feature a:

        n_f = softmax_cells((m_f W_v + b_v) (a W_l + b_l)^T / sqrt(C))^T m_f
        A = softmax((n W_q + b_q) (n W_k + b_k)^T / sqrt(C))                      F x F
        g = GraphConvolution(n, A n)

    Source: `build_temp_graph` in `CMPC_video/CMPC_video_mm_tgraph_allvec.py` of CMPC-Refseg.

    Differs from TF1: the action feature goes to the frames of its own sample; the original's order of tiling is right
    for one sample only. Tested by `tests/video/test_cmpc_video.py`.

    Call arguments:
        cells: `(B, F, h, w, C)`.
        action: `(B, C)`.

    Returns:
        `(B, F, C)`, of unit norm.
    """

    def build(self, cells_shape, action_shape):
        frames, channels = cells_shape[1], cells_shape[-1]
        self.cell_projection = layers.Dense(channels, name="cell_projection")
        self.action_projection = layers.Dense(channels, name="action_projection")
        self.query = layers.Dense(channels, name="query")
        self.key = layers.Dense(channels, name="key")
        self.convolution = GraphConvolution(name="convolution")
        self.action_projection.build(action_shape)
        for layer in (self.cell_projection, self.query, self.key):
            layer.build((None, frames, channels))
        self.convolution.build((None, frames, channels))

    def call(self, cells, action):
        _, frames, height, width, channels = cells.shape
        cells = ops.reshape(cells, (-1, frames, height * width, channels))
        query = self.action_projection(action)[:, None, None]  # (B, 1, 1, C)
        scores = projected_affinity(cells, self.cell_projection, query)[..., 0] / math.sqrt(channels)
        nodes = ops.einsum("bfn,bfnc->bfc", softmax(scores), cells)
        affinity = ops.einsum("bfc,bgc->bfg", self.query(nodes), self.key(nodes)) / math.sqrt(channels)
        return self.convolution(nodes, ops.matmul(softmax(affinity), nodes))

    def compute_output_shape(self, cells_shape):
        return (*cells_shape[:2], cells_shape[-1])


@keras.saving.register_keras_serializable(package=PACKAGE)
class TemporalContext(keras.layers.Layer):
    """Attention from every cell of the annotated frame to the frames' nodes.

        context = l2n(softmax_frames((m W_m + b_m) (n W_n + b_n)^T / sqrt(C)) n)

    Source: `build_temp_ctx` in `CMPC_video/CMPC_video_mm_tgraph_allvec.py` of CMPC-Refseg.

    Call arguments:
        cells: `(B, h, w, C)`.
        nodes: `(B, F, C)`, from `TemporalGraph`.

    Returns:
        `(B, h, w, C)`, of unit norm.
    """

    def build(self, cells_shape, nodes_shape):
        channels = cells_shape[-1]
        self.cell_projection = layers.Dense(channels, name="cell_projection")
        self.node_projection = layers.Dense(channels, name="node_projection")
        self.cell_projection.build((None, None, channels))
        self.node_projection.build(nodes_shape)

    def call(self, cells, nodes):
        _, height, width, channels = cells.shape
        flat = ops.reshape(cells, (-1, height * width, channels))
        affinity = projected_affinity(flat, self.cell_projection, self.node_projection(nodes))
        context = ops.einsum("bnf,bfc->bnc", softmax(affinity / math.sqrt(channels)), nodes)
        return l2_normalize(ops.reshape(context, (-1, height, width, channels)))

    def compute_output_shape(self, cells_shape):
        return cells_shape
