"""The arithmetic of a function: operations of its matrix products and convolutions, which are nearly all of it."""

import math
from collections.abc import Callable


def count_gflop(function: Callable[[], object]) -> float:
    """Calls a function and counts what its matrix products and convolutions compute, also those of gradients.

    Every `tf.function` runs eagerly meanwhile, so that the shapes are known and each turn of a loop counts.

    Args:
        function: What is counted.

    Returns:
        10^9 operations; a multiplication and an addition are two.
    """
    import tensorflow as tf
    from tensorflow.python.framework import op_callbacks

    counted = 0

    def count(op_type, inputs, attributes, outputs, *_):
        nonlocal counted
        named = {_text(name): value for name, value in zip(attributes[::2], attributes[1::2], strict=True)}
        counted += operations(_text(op_type), inputs, named, outputs)

    tf.config.run_functions_eagerly(True)
    op_callbacks.add_op_callback(count)
    try:
        function()
    finally:
        op_callbacks.remove_op_callback(count)
        tf.config.run_functions_eagerly(False)
    return counted / 1e9


def operations(op_type: str, inputs, attributes: dict, outputs) -> int:
    """The operations of one operation of TensorFlow; 0 for those that are neither products nor convolutions."""
    if op_type == "MatMul":
        return 2 * _size(outputs[0]) * inputs[0].shape[0 if _text(attributes["transpose_a"]) == "True" else 1]
    if op_type in ("BatchMatMulV2", "BatchMatMulV3"):
        return 2 * _size(outputs[0]) * inputs[0].shape[-2 if _text(attributes["adj_x"]) == "True" else -1]
    if op_type == "Einsum":
        return 2 * _einsum(_text(attributes["equation"]), inputs)
    if op_type in ("Conv2D", "Conv3D"):
        return 2 * _size(outputs[0]) * math.prod(inputs[1].shape[:-1])
    if op_type in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        return 2 * _size(inputs[2]) * math.prod(inputs[1].shape[:-1])
    if op_type in ("Conv2DBackpropFilter", "Conv3DBackpropFilterV2"):
        return 2 * _size(inputs[2]) * math.prod(outputs[0].shape[:-1])
    return 0


def _size(tensor) -> int:
    return math.prod(tensor.shape)


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _einsum(equation: str, inputs) -> int:
    """The number of products of an equation."""
    sizes = {}
    for letters, tensor in zip(equation.partition("->")[0].split(","), inputs, strict=True):
        # The axes of ellipses fit each other from the last one on; digits stand for them.
        others = len(tensor.shape) - len(letters.replace("...", ""))
        named = letters.replace("...", "0123456789"[10 - others :])
        for name, size in zip(named, tensor.shape, strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return math.prod(sizes.values())
