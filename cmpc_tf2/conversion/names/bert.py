"""BERT in files of its own, such as `pytorch_model.bin` and `model.safetensors` of bert-base-uncased.

Names are those of HuggingFace's transformers.
"""

import re

from cmpc_tf2.conversion.families import TORCH, Family, common_size
from cmpc_tf2.conversion.torch_names import TorchPair, linear, make_pairs, norm, table
from cmpc_tf2.text.config import BertConfig

# Beginning of the paths of the weights.
SCOPE = "lang_encoder/"
# Channels of a head in all published sizes; the shapes do not tell it.
HEAD_WIDTH = 64
# Reason why `position_ids` is not converted.
POSITION_NUMBERS = "the numbers of the positions"


def bert_pairs(config: BertConfig, prefix: str = "bert.") -> list[TorchPair]:
    """The parameters of BERT without its pooler.

    Args:
        config: Its sizes.
        prefix: Beginning of the names in the checkpoint; the default is that of a file of its own.
    """
    places = []
    for kind in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        places += table(f"{SCOPE}embeddings/{kind}")
    places += norm(f"{SCOPE}embeddings/LayerNorm")
    for layer in (f"{SCOPE}encoder.layer.{index}" for index in range(config.layers)):
        for name in ("query", "key", "value"):
            places += linear(f"{layer}/attention.self.{name}")
        for name in ("attention.output", "output"):
            places += [*linear(f"{layer}/{name}.dense"), *norm(f"{layer}/{name}.LayerNorm")]
        places += linear(f"{layer}/intermediate.dense")
    return make_pairs(places, prefix, SCOPE)


def infer_config(shapes: dict[str, tuple], prefix: str = "bert.") -> BertConfig:
    """Reads the sizes off the shapes.

    Args:
        shapes: Shape per parameter name.
        prefix: Beginning of the names.
    """
    default = BertConfig()
    layers = {match[1] for name in shapes if (match := re.match(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\.", name))}
    words, positions = (f"{prefix}embeddings.{kind}_embeddings.weight" for kind in ("word", "position"))
    dense = [f"{prefix}encoder.layer.{layer}.intermediate.dense.weight" for layer in sorted(layers)]
    width = common_size(shapes, [words, positions], 1, default.width)
    return BertConfig(
        width=width,
        layers=len(layers) or default.layers,
        heads=max(1, width // HEAD_WIDTH),
        intermediate=common_size(shapes, dense, 0, default.intermediate),
        vocabulary_size=common_size(shapes, [words], 0, default.vocabulary_size),
        positions=common_size(shapes, [positions], 0, default.positions),
    )


FAMILY = Family(
    name="bert",
    file_format=TORCH,
    pairs=bert_pairs,
    infer_config=infer_config,
    sign=r"(bert\.)?embeddings\.word_embeddings\.weight",
    ignored=(
        (r"bert\.pooler\..+", "the pooler, which the language encoder does not use"),
        (r"cls\..+", "the heads of BERT's own training"),
        (r"bert\.embeddings\.position_ids", POSITION_NUMBERS),
    ),
    assumed=("heads",),
    renames=(
        (r"((?:embeddings|encoder|pooler)\..+)", r"bert.\1"),
        (r"(.+)\.gamma", r"\1.weight"),
        (r"(.+)\.beta", r"\1.bias"),
    ),
)
