"""Parts of the maps of names: names in PyTorch checkpoints on the left, `Variable.path` on the right.

The path of a weight is the name of its parameter with other separators: a Keras layer has the name of a PyTorch module
within the part above it, and `weight` is `kernel`, `gamma` or `embeddings`, `bias` of a norm is `beta`.

The helpers for layers list pairs of paths and transforms; `make_pairs` adds the names.
"""

import dataclasses
from typing import Literal

# Buffers of batch norms that are ignored: a pattern of their names, and why.
BATCH_COUNTS = (r".+\.num_batches_tracked", "counts the batches of training; nothing reads it")
_NAMES = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "beta": "bias"}


@dataclasses.dataclass(frozen=True)
class TorchPair:
    """One PyTorch parameter and its place in the Keras model.

    Attributes:
        torch: Name of the parameter.
        keras: Path of the weight.
        transform: How the axes differ: `linear`, `(out, in)` in PyTorch and `(in, out)` in Keras; `conv`, `(out, in, h,
            w)` in PyTorch and `(h, w, in, out)` in Keras; `as_is`, not at all.
        inputs: First and last + 1 of the inputs (second axis in PyTorch) that the weight has, if it has not all. Then
            the pairs with the same parameter are in order, and together have all of them.
    """

    torch: str
    keras: str
    transform: Literal["linear", "conv", "as_is"]
    inputs: tuple[int, int] | None = None


def linear(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/kernel", "linear"), (f"{layer}/bias", "as_is")]


def convolution(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/kernel", "conv"), (f"{layer}/bias", "as_is")]


def norm(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/gamma", "as_is"), (f"{layer}/beta", "as_is")]


def batch_norm(layer: str) -> list[tuple[str, str]]:
    """In the order of DarkNet: beta, gamma, mean, variance."""
    return [(f"{layer}/{name}", "as_is") for name in ("beta", "gamma", "running_mean", "running_var")]


def feed_forward(layer: str) -> list[tuple[str, str]]:
    return [*linear(f"{layer}/fc1"), *linear(f"{layer}/fc2")]


def table(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/embeddings", "as_is")]


def sentence_encoder(layer: str) -> list[tuple[str, str]]:
    """A table of words, a linear layer, and an LSTM in both directions."""
    places = [*table(f"{layer}/embedding"), *linear(f"{layer}/mlp.0")]
    for direction in ("l0", "l0_reverse"):
        places += [(f"{layer}/rnn/weight_{kind}_{direction}", "linear") for kind in ("ih", "hh")]
        places += [(f"{layer}/rnn/bias_{kind}_{direction}", "as_is") for kind in ("ih", "hh")]
    return places


def make_pairs(places: list[tuple[str, str]], prefix: str, scope: str = "") -> list[TorchPair]:
    """Pairs of paths with their transforms; a name begins with `prefix` where the path begins with `scope`."""
    pairs = []
    for path, transform in places:
        layer, _, weight = path.removeprefix(scope).rpartition("/")
        name = f"{layer}/{_NAMES.get(weight, weight)}".replace("/", ".")
        pairs.append(TorchPair(f"{prefix}{name}", path, transform))
    return pairs
