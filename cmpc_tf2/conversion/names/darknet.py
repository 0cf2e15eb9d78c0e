"""DarkNet-53 with the neck of YOLOv3: the parameters of a `.weights` file, in its order.

The file has no names. Those here are what PyTorch checkpoints of grounding models have for the same parameters.
"""

from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.backbones.darknet_layers import HEADS, convolution_numbers, layer_name, sublayer_names, unused_heads
from cmpc_tf2.conversion.torch_names import TorchPair, batch_norm, make_pairs


def darknet_pairs(config: DarkNet53Config, prefix: str = "") -> list[TorchPair]:
    """The parameters and running statistics: 366.

    Args:
        config: Its sizes.
        prefix: Beginning of the names.
    """
    heads = {head.number: head for head in unused_heads(config)}
    pairs = []
    for number in convolution_numbers():
        convolution, norm = sublayer_names(number)
        scope = f"{HEADS}/" if number in heads else ""
        layer = f"{scope}{layer_name(number)}"
        if number in heads and not heads[number].has_norm:
            places = [(f"{layer}/{convolution}/bias", "as_is")]
        else:
            places = batch_norm(f"{layer}/{norm}")
        pairs += make_pairs([*places, (f"{layer}/{convolution}/kernel", "conv")], prefix, scope)
    return pairs
