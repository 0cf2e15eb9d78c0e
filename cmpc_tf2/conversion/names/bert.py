"""BERT in files of its own, such as `pytorch_model.bin` and `model.safetensors` of bert-base-uncased.

Names are those of HuggingFace's transformers.
"""

import re

from cmpc_tf2.conversion.families import TORCH, Family
from cmpc_tf2.conversion.names.maskris import bert_pairs
from cmpc_tf2.conversion.tf1_names import common_size
from cmpc_tf2.text.config import BertConfig

# Channels of a head in all published sizes; the shapes do not tell it.
HEAD_WIDTH = 64


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
        (r"bert\.embeddings\.position_ids", "the numbers of the positions"),
    ),
    assumed=("heads",),
    renames=(
        (r"((?:embeddings|encoder|pooler)\..+)", r"bert.\1"),
        (r"(.+)\.gamma", r"\1.weight"),
        (r"(.+)\.beta", r"\1.bias"),
    ),
)
