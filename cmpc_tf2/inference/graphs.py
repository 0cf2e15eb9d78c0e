"""Functions of tensors as graphs, or operation by operation where a graph is not worth it."""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

# Answers from which on a graph is worth its making, which takes as long as that many answers of a full-size CMPC.
MANY_ANSWERS = 5


def graph(function: Callable, *signature, jit_compile: bool = False) -> Callable:
    """A function that becomes a graph at its first call.

    Args:
        function: A function of tensors, without control flow that depends on their values.
        signature: Shapes and types of its arguments.
        jit_compile: Compile it with XLA.
    """
    return tf.function(function, input_signature=signature, jit_compile=jit_compile, autograph=False)


@contextlib.contextmanager
def graphs_for(answers: int) -> Iterator[None]:
    """Within the block, functions run operation by operation if only a few answers follow.

    Args:
        answers: How many.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(answers < MANY_ANSWERS)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
