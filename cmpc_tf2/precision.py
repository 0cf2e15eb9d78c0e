"""The precision that the layers of a model compute in."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def building_with(policy: str | keras.DTypePolicy) -> Iterator[None]:
    """Within the block, layers are built with this Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def computing_in(precision: str, weights: str = "float32") -> contextlib.AbstractContextManager[None]:
    """Within the block, layers that are built or loaded compute in this precision.

    Norms, softmaxes, the exchange, the ConvLSTM and logits stay float32 in any case: their layers say so themselves.

    Args:
        precision: `float32`, `bfloat16` or `float16`.
        weights: Type of the weights: float32 for training, the precision itself for inference only.
    """
    return building_with(precision if weights == precision else f"mixed_{precision}")


def exact_dtype() -> str:
    """The dtype of what stays exact in models that are built now: float64 in models of float64, otherwise float32."""
    return "float64" if keras.config.dtype_policy().compute_dtype == "float64" else "float32"
