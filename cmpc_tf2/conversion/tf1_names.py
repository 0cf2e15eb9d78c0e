"""Parts of the maps of names: names in TensorFlow 1 checkpoints on the left, `Variable.path` on the right.

The names on the left are those of CMPC-Refseg (commit 094639b), referseg_rrn (7eabaf4) and TF-phrasecut-public
(b0b0778).
"""

import dataclasses
import re

SCOPE = "text_objseg"
BETA_1_POWER, BETA_2_POWER = f"{SCOPE}/beta1_power", f"{SCOPE}/beta2_power"
_CONV_LSTM = f"{SCOPE}/rnn/conv_lstm_cell"
PEEPHOLES = tuple(f"{_CONV_LSTM}/W_c{gate}" for gate in "ifo")


@dataclasses.dataclass(frozen=True)
class Pair:
    """One TensorFlow 1 variable and its place in the Keras model.

    Attributes:
        tf1: Name of the variable.
        keras: Path of the weight.
        block: If the weight holds several variables side by side (the heads of MUTAN), the index of this one's block
            of columns, and their number.
        factor: Name of another variable that this one is divided by (Caffe's running sums of batch norm).
        may_have_leading_ones: Whether the variable may have further axes of length 1 in front (Sonnet's batch norm).
    """

    tf1: str
    keras: str
    block: tuple[int, int] | None = None
    factor: str | None = None
    may_have_leading_ones: bool = False


def layer(tf1: str, keras: str, block: tuple[int, int] | None = None) -> list[Pair]:
    """The kernel and biases of a layer."""
    return [
        Pair(f"{SCOPE}/{tf1}/DW", f"{keras}/kernel", block),
        Pair(f"{SCOPE}/{tf1}/biases", f"{keras}/bias", block),
    ]


def norm(tf1: str, keras: str) -> list[Pair]:
    """Beta and gamma of a layer norm."""
    return [Pair(f"{SCOPE}/{tf1}/{p}", f"{keras}/{p}") for p in ("beta", "gamma")]


def lstm(tf1: str, keras: str) -> list[Pair]:
    """The kernel and biases of an LSTM."""
    cell = f"{SCOPE}/{tf1}/multi_rnn_cell/cell_0/basic_lstm_cell"
    return [Pair(f"{cell}/{p}", f"{keras}/{p}") for p in ("kernel", "bias")]


def conv_lstm() -> list[Pair]:
    """The kernel, peepholes and layer norms of the ConvLSTM over the levels."""
    pairs = [Pair(f"{_CONV_LSTM}/kernel", "conv_lstm/kernel")]
    pairs += [Pair(peephole, f"conv_lstm/peephole_{peephole[-1]}") for peephole in PEEPHOLES]
    # LayerNorm, LayerNorm_1, ...: in the order in which the original makes them.
    for number, gate in enumerate("jifoc"):
        suffix = f"_{number}" if number else ""
        pairs += norm(f"rnn/conv_lstm_cell/LayerNorm{suffix}", f"conv_lstm/norm_{gate}")
    return pairs


def slot_names(tf1: str) -> tuple[str, str]:
    """Adam's first and second moment of a variable."""
    return f"{SCOPE}/{tf1}/Adam", f"{SCOPE}/{tf1}/Adam_1"


def training_variables(step: str) -> tuple[tuple[str, str], ...]:
    """Variables of a training checkpoint other than weights: `Family.ignored` of a model that counts in `step`."""
    return (
        (re.escape(step), "the training step; reported as `step`"),
        (rf"{SCOPE}/beta[12]_power", "Adam's running power, not a weight"),
        (rf"{SCOPE}/(?P<base>.+)/Adam(_1)?", "Adam slot, not a weight"),
    )
