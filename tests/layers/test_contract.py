"""Properties of every registered layer: configuration, dtype of the outputs, independence of the samples."""

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import tree

import cmpc_tf2
import cmpc_video_tf2
import cogrounding_tf2
from cmpc_tf2.precision import building_with
from small import SMALL_GROUNDING, SMALL_MASKRIS

BATCH = 3
RNG = np.random.default_rng(0)
# Sentences of two, four and no words.
IS_WORD = np.array([[False, False, True, True], [True] * 4, [False] * 4])


def values(*shape: int) -> np.ndarray:
    return RNG.normal(size=(BATCH, *shape)).astype("float32")


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer at a small size.

    Attributes:
        inputs: Call arguments for `BATCH` samples.
        config: Arguments of the constructor.
        prepare: Turns these inputs into those of the layer; None if they are.
        samples: Puts the samples of the layer's output first; None if they are.
        dtype: The dtype in which models build the layer in every precision; None for the dtype of the policy.
    """

    inputs: tuple
    config: dict = dataclasses.field(default_factory=dict)
    prepare: Callable | None = None
    samples: Callable | None = None
    dtype: str | None = None

    def build(self, layer_type: type) -> keras.layers.Layer:
        return layer_type(**self.config, dtype=self.dtype, name="layer")


def split_phases(maps):
    return (keras.saving.get_registered_object("cmpc>SplitPhases")(2)(maps),)


def phases_last(phases):
    return np.swapaxes(np.reshape(phases, (4, -1, *phases.shape[1:])), 0, 1)


MAPS = values(2, 3, 4)
BERT = SMALL_MASKRIS.bert.to_dict()
# Three levels of feature maps, 21 cells in all.
GRIDS = [[1, 1], [2, 2], [4, 4]]
# Layers with the same output for every sample.
CONSTANT = {"cmpc>LevelPositions"}
CASES = {
    "cmpc>BasicLSTM": Case((values(4, 3), IS_WORD), {"units": 5}),
    "cmpc>BidirectionalLSTM": Case((values(4, 3), IS_WORD), {"units": 5}),
    "cmpc>Captioner": Case(
        (values(6, 7), 3 * IS_WORD),
        {"config": {"units": 4, "word_dim": 5, "attention_dim": 3}, "words": 9, "dropout": 0.3},
    ),
    "cmpc>CellDense": Case((MAPS,), {"units": 5, "activation": "relu"}),
    "cmpc>FixedBatchNormalization": Case((MAPS,), {"epsilon": 0.01}),
    "cmpc>FrozenBatchNormalization": Case((MAPS,), {"momentum": 0.3}),
    "cmpc>GlobalLayerNormalization": Case((MAPS,)),
    "cmpc>GraphConvolution": Case((values(6, 4), values(6, 4))),
    "cmpc>GridAttention": Case((values(5), values(2, 6, 5), values(2, 6, 4))),
    "cmpc>L2Normalize": Case((MAPS,)),
    "cmpc>LegacyBilinearResize": Case((MAPS,), {"size": 8}),
    "cmpc>LevelFusion": Case(([MAPS, values(2, 3, 6)], values(5)), {"filters": 7}),
    "cmpc>MergePhases": Case((values(4, 6, 3),), {"rate": 2}, prepare=split_phases),
    "cmpc>MultimodalLSTM": Case((values(2, 3, 5), values(4, 3), values(4, 6), IS_WORD), {"units": 4}),
    "cmpc>MutanFusion": Case((values(2, 3, 2, 4), values(5))),
    "cmpc>MutanVisual": Case((MAPS,), {"units": 5, "heads": 2}),
    "cmpc>PeepholeConvLSTM": Case(([MAPS, values(2, 3, 4), values(2, 3, 4)],), {"filters": 5}, dtype="float32"),
    "cmpc>PhraseAttention": Case((values(4, 6), values(4, 3), IS_WORD), {"normalize": True}),
    "cmpc>RelationGraph": Case((MAPS, values(4, 4), np.abs(values(4)), IS_WORD)),
    "cmpc>ResizedMutanVisual": Case((values(2, 2, 4), values(4, 3, 5)), {"units": 5, "heads": 2}),
    "cmpc>ScaledTap": Case((MAPS, values(2, 3, 5))),
    "cmpc>ScaledUnitLength": Case((MAPS,)),
    "cmpc>SentenceEncoder": Case(
        (3 * IS_WORD,), {"vocabulary_size": 9, "embedding_dim": 4, "word_dim": 5, "units": 3, "dropout": 0.3}
    ),
    "cmpc>SplitPhases": Case((values(4, 6, 3),), {"rate": 2}, samples=phases_last),
    "cmpc>TextEncoder": Case((3 * IS_WORD,), {"vocabulary_size": 9, "embedding_dim": 4, "units": 6}),
    "cmpc>TextGuidedExchange": Case((MAPS, [values(2, 3, 4)] * 2, values(5)), {"sources": ["c4", "c5"]}),
    "cmpc>WithOne": Case((MAPS,)),
    "cmpc>WeightedWordPool": Case((values(4, 3), np.abs(values(4, 5))), {"type_indices": [0, 2]}),
    "cmpc>WordParser": Case((values(4, 3),), {"hidden_dim": 6, "types": 5}),
    "cmpc>AlignedBilinearResize": Case((MAPS,), {"size": [5, 8]}),
    "cmpc>AppendPrompts": Case((values(4, 6),), {"count": 3}),
    "cmpc>Bert": Case((3 * IS_WORD, 1 * IS_WORD, values(2, 12)), {"config": BERT}),
    "cmpc>BertEmbeddings": Case((3 * IS_WORD,), {"config": BERT}),
    "cmpc>BertLayer": Case((values(4, 12), values(1, 1, 4)), {"config": BERT}),
    "cmpc>ClassScores": Case((MAPS, values(2, 5)), {"channels": 5}),
    "cmpc>ConditionalPrompts": Case((MAPS,), {"grids": [1, 2], "width": 6}),
    "cmpc>ConvolutionNorm": Case((MAPS,), {"filters": 6, "kernel_size": 3, "groups": 2, "use_bias": True}),
    "cmpc>DecoderLayer": Case(
        (values(21, 16), values(4, 16), values(21, 16), IS_WORD[[0, 1, 1]]),
        {"config": SMALL_MASKRIS.to_dict(), "grids": GRIDS},
    ),
    "cmpc>DeformableAttention": Case(
        (values(21, 16), values(21, 16)), {"grids": GRIDS, "heads": 2, "points": 2}, dtype="float32"
    ),
    "cmpc>FeedForward": Case((values(4, 6),), {"units": 9, "activation": "gelu"}),
    "cmpc>FewKeysAttention": Case((values(6, 8), values(4, 8), values(4, 8)), {"heads": 2, "head_dim": 3}),
    "cmpc>FewQueriesAttention": Case((values(4, 8), values(6, 8), values(6, 8)), {"heads": 2, "head_dim": 3}),
    "cmpc>NormalizedConvolution": Case(
        (values(5, 4, 6),), {"filters": 7, "kernel_size": 3, "strides": 2, "slope": 0.1, "names": ["c", "n"]}
    ),
    "cmpc>PatchEmbedding": Case((values(9, 10, 3),), {"width": 6, "patch_size": 4}),
    "cmpc>PatchMerging": Case((values(5, 4, 6),)),
    "cmpc>SentenceFilters": Case((values(5, 4, 6), values(3)), {"variant": "response"}),
    "cmpc>SwinBlock": Case((values(5, 4, 6),), {"heads": 2, "window": 3, "is_shifted": True, "drop_path": 0.1}),
    "cmpc>TorchBatchNormalization": Case((MAPS,), {"momentum": 0.3}),
    "cmpc>UnusedHeads": Case((MAPS,), {"config": SMALL_GROUNDING.darknet.to_dict()}),
    "cmpc>WindowAttention": Case((values(2, 9, 6),), {"heads": 2, "window": 3}),
    "cmpc_video>TemporalContext": Case((MAPS, values(3, 4))),
    "cmpc_video>TemporalGraph": Case((values(3, 2, 2, 4), values(4))),
    "cogrounding>CoAttention": Case((values(3, 2, 2, 4),)),
    "cogrounding>LanguageEncoder": Case((3 * IS_WORD,), {"vocabulary_size": 9, "units": 6}),
    "cogrounding>LanguageFusion": Case((values(2, 2, 4), values(4))),
    "cogrounding>LocationScores": Case((values(1344), values(5)), {"channels": 5}, dtype="float32"),
    "cogrounding>SubjectScores": Case((values(6, 4), values(4)), dtype="float32"),
}


def find_layers() -> dict[str, type]:
    """All layers that the packages register, by name, after all modules were imported that may define some."""
    for package in (cmpc_tf2, cmpc_video_tf2, cogrounding_tf2):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.split(".")[1] in ("backbones", "layers", "models", "text"):
                importlib.import_module(module.name)
    return {
        name: found
        for name, found in keras.saving.get_custom_objects().items()
        if isinstance(found, type) and issubclass(found, keras.layers.Layer) and not issubclass(found, keras.Model)
    }


LAYERS = {
    name: found for name, found in find_layers().items() if name.startswith(("cmpc>", "cmpc_video>", "cogrounding>"))
}


def test_every_registered_layer_has_a_case():
    assert LAYERS.keys() - CONSTANT == CASES.keys()


@pytest.fixture(params=sorted(CASES))
def case(request) -> Case:
    return CASES[request.param]


@pytest.fixture
def layer(request, case):
    return case.build(LAYERS[request.node.callspec.params["case"]])


def inputs_of(case: Case, samples: slice = slice(None), dtype: str = "float32") -> tuple:
    """The call arguments of a layer for some of the samples."""

    def take(value):
        value = keras.ops.convert_to_tensor(value[samples])
        return keras.ops.cast(value, dtype) if keras.backend.is_float_dtype(value.dtype) else value

    inputs = tree.map_structure(take, case.inputs)
    return inputs if case.prepare is None else case.prepare(*inputs)


def as_symbol(tensor) -> keras.KerasTensor:
    """The input of a functional model that takes such tensors."""
    return keras.KerasTensor((None, *tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype))


def apply(layer, case: Case, samples: slice = slice(None), dtype: str = "float32") -> list:
    """The outputs of a layer for some of the samples, with the samples first."""
    outputs = layer(*inputs_of(case, samples, dtype))
    return [output if case.samples is None else case.samples(output) for output in tree.flatten(outputs)]


def test_configuration_round_trip(layer, case):
    expected = apply(layer, case)
    config = json.loads(json.dumps(layer.get_config()))
    for name, value in case.config.items():
        assert config[name] == value
    other = type(layer).from_config(config)
    assert other.get_config() == layer.get_config()
    apply(other, case)
    other.set_weights(layer.get_weights())
    for found, output in zip(apply(other, case), expected, strict=True):
        np.testing.assert_array_equal(found, output)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_outputs_have_the_dtype_of_the_policy(dtype, request, case):
    with building_with(dtype):
        outputs = apply(case.build(LAYERS[request.node.callspec.params["case"]]), case, dtype=dtype)
    kinds = [keras.backend.standardize_dtype(output.dtype) for output in outputs]
    expected = case.dtype or dtype
    assert expected in kinds and set(kinds) <= {expected, "bool"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_and_weights_are_known_before_a_call(dtype, request, case):
    """A functional model gets them from the shapes and types of the inputs, for any number of samples."""
    with building_with(dtype):
        layer, inputs = case.build(LAYERS[request.node.callspec.params["case"]]), inputs_of(case, dtype=dtype)
        expected = tree.flatten(layer(*tree.map_structure(as_symbol, inputs)))
        paths = [variable.path for variable in layer.variables]
        outputs = tree.flatten(layer(*inputs))
    for symbol, output in zip(expected, outputs, strict=True):
        assert symbol.shape == (None, *output.shape[1:])
        assert symbol.dtype == keras.backend.standardize_dtype(output.dtype)
    assert [variable.path for variable in layer.variables] == paths


def test_a_batch_equals_its_samples_alone(layer, case):
    together = apply(layer, case)
    for sample in range(BATCH):
        alone = apply(layer, case, slice(sample, sample + 1))
        for found, expected in zip(together, alone, strict=True):
            assert len(found) == BATCH and len(expected) == 1
            np.testing.assert_allclose(found[sample], expected[0], rtol=0, atol=1e-6)
