"""RMI."""

from cmpc_tf2.conversion.names import deeplab
from cmpc_tf2.conversion.names.ancestors import ancestor_family, word_pairs
from cmpc_tf2.conversion.tf1_names import SCOPE, layer, lstm

_WORDS = word_pairs("RNN/WLSTM") + lstm("RNN/ALSTM", "multimodal_lstm")

FAMILY = ancestor_family(
    name="rmi",
    sign=rf"{SCOPE}/RNN/ALSTM/.+",
    backbone=deeplab.FAMILY,
    pairs=_WORDS + layer("conv0", "visual") + layer("conv2", "score"),
    sizes={"feature_dim": ("conv0/biases", 0), "fusion_dim": ("conv2/DW", 2)},
    unused_variables=deeplab.unused_variables,
    assumed=("image_size",),
)
