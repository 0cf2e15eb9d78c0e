"""The LSTM baseline."""

from cmpc_tf2.conversion.names import deeplab
from cmpc_tf2.conversion.names.ancestors import ancestor_family, word_pairs
from cmpc_tf2.conversion.tf1_names import SCOPE, layer

FAMILY = ancestor_family(
    name="lstm",
    sign=rf"{SCOPE}/conv1/(DW|biases)",
    backbone=deeplab.FAMILY,
    pairs=word_pairs("RNN") + layer("conv0", "visual") + layer("conv1", "fusion") + layer("conv2", "score"),
    sizes={"feature_dim": ("conv0/biases", 0), "fusion_dim": ("conv1/DW", 3)},
    unused_variables=deeplab.unused_variables,
    assumed=("image_size",),
)
