"""Properties of the parts, and the reassociated products against the plain formulas."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import softmax

from cmpc_tf2.layers.normalization import l2_normalize
from cmpc_tf2.models.cmpc.exchange import TextGuidedExchange
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.models.cmpc.relation_graph import RelationGraph


def randomize(layer, rng):
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))


@pytest.fixture
def graph_inputs(rng):
    cells = np.asarray(l2_normalize(rng.normal(size=(2, 3, 4, 6)).astype("float32")))
    words = rng.normal(size=(2, 5, 6)).astype("float32")
    is_word = np.array([[False, False, True, True, True], [True] * 5])
    words[~is_word] = 0
    return cells, words, rng.random((2, 5)).astype("float32"), is_word


def test_relation_graph_equals_the_plain_formula(graph_inputs, rng):
    cells, words, relation, is_word = graph_inputs
    layer = RelationGraph(name="graph")
    layer(*graph_inputs)
    randomize(layer, rng)
    found = np.asarray(layer(*graph_inputs))

    dense = {"cell": layer.cell_projection, "word": layer.word_projection}
    for sample in range(2):
        m = cells[sample].reshape(12, 6)
        q = words[sample][is_word[sample]]
        projected = {name: keras.ops.convert_to_numpy(d.kernel) for name, d in dense.items()}
        bias = {name: keras.ops.convert_to_numpy(d.bias) for name, d in dense.items()}
        affinity = (m @ projected["cell"] + bias["cell"]) @ (q @ projected["word"] + bias["word"]).T / np.sqrt(6)
        affinity *= relation[sample][is_word[sample]]
        adjacency = softmax(affinity, axis=1) @ softmax(affinity, axis=0).T  # (N, N)
        expected = layer.convolution(m[None], (adjacency @ m)[None].astype("float32"))
        np.testing.assert_allclose(found[sample].reshape(12, 6), expected[0], atol=1e-5)


def test_graph_assignments_are_distributions_over_words_and_cells(graph_inputs):
    cells, words, relation, is_word = graph_inputs
    layer = RelationGraph(name="graph")
    layer(*graph_inputs)
    over_words, over_cells = layer.assignments(cells.reshape(2, 12, 6), words, relation, is_word)
    np.testing.assert_allclose(ops.sum(over_words, axis=2), np.ones((2, 12)), rtol=1e-5)
    np.testing.assert_allclose(ops.sum(over_cells, axis=1), is_word.astype("float32"), rtol=1e-5)
    assert not np.asarray(over_words)[0, :, :2].any()
    # So each row of the adjacency, over_words over_cells^T, sums to 1.
    adjacency = np.einsum("bnt,bmt->bnm", over_words, over_cells)
    np.testing.assert_allclose(adjacency.sum(axis=2), 1, rtol=1e-5)


def test_exchange_equals_the_plain_formula(rng):
    level, first, second = rng.normal(size=(3, 2, 3, 4, 6)).astype("float32")
    sentence = rng.normal(size=(2, 5)).astype("float32")
    layer = TextGuidedExchange(["c4", "c5"], name="exchange")
    layer(level, [first, second], sentence)
    randomize(layer, rng)
    found = np.asarray(layer(level, [first, second], sentence))
    for sample in range(2):
        cells = level[sample].reshape(12, 6)
        keys = np.asarray(layer.key(cells))
        query = np.asarray(layer.query(sentence[sample : sample + 1]))
        attention = softmax(keys @ query.T / np.sqrt(6), axis=0)
        pooled = np.concatenate([attention.T @ cells, sentence[sample : sample + 1]], axis=1).astype("float32")
        context = l2_normalize(layer.context(pooled))
        expected = level[sample]
        for other, transform, gate in zip((first, second), layer.transforms, layer.gates, strict=True):
            expected = expected + np.asarray(transform(other[sample])) * np.asarray(gate(context))
        np.testing.assert_allclose(found[sample], expected, atol=1e-5)


def test_relation_graph_of_pads_alone_equals_two_words_without_features(graph_inputs, rng):
    """The original gets one zero vector per word slot; their number makes no difference."""
    cells = graph_inputs[0]
    layer = RelationGraph(name="graph")
    relation = np.full((2, 5), 0.3, "float32")
    layer(cells, np.zeros((2, 5, 6), "float32"), relation, np.ones((2, 5), bool))
    randomize(layer, rng)
    many = layer(cells, np.zeros((2, 5, 6), "float32"), relation, np.ones((2, 5), bool))
    two = layer(cells, np.zeros((2, 2, 6), "float32"), relation[:, :2], np.ones((2, 2), bool))
    np.testing.assert_allclose(many, two, atol=1e-5)


def test_initial_weights_are_those_of_the_original():
    """Glorot uniform for kernels (for each head of MUTAN alone) and peepholes; biases and betas 0, gammas 1."""
    from cmpc_tf2.backbones.config import DeepLabResNetConfig
    from cmpc_tf2.conversion.names.cmpc import cmpc_pairs
    from cmpc_tf2.conversion.tf1 import tf1_shape
    from cmpc_tf2.models.cmpc.config import CMPCConfig

    keras.utils.set_random_seed(0)
    config = CMPCConfig(
        image_size=64, vocabulary_size=40, embedding_dim=24, feature_dim=40, fusion_dim=30,
        word_parser_dim=35, backbone=DeepLabResNetConfig(width=8, depths=(1, 1, 1, 1)),
    )  # fmt: skip
    model = CMPC(config)
    variables = {v.path: v for v in model.variables}
    for pair in cmpc_pairs(config):
        value = keras.ops.convert_to_numpy(variables[pair.keras])
        last = pair.tf1.rsplit("/", 1)[-1]
        if last in ("biases", "bias", "beta", "moving_mean"):
            assert not value.any(), pair.tf1
        elif last in ("gamma", "moving_variance"):
            assert (value == 1).all(), pair.tf1
        elif last != "Variable":  # The embedding table starts from GloVe.
            *window, inputs, outputs = tf1_shape(pair, value.shape)
            limit = np.sqrt(6 / (np.prod(window) * (inputs + outputs)))
            assert np.abs(value).max() <= limit * (1 + 1e-6), pair.tf1
            assert value.std() == pytest.approx(limit / np.sqrt(3), rel=0.15), pair.tf1
