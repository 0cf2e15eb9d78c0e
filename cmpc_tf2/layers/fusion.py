"""Chains of elementwise operations, which a compiler turns into one pass over the memory."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

from keras import ops

_compiler: contextvars.ContextVar[Callable | None] = contextvars.ContextVar("compiler", default=None)


def fusible(function: Callable) -> Callable:
    """Marks a function of tensors that reads and writes much and computes little."""

    @functools.wraps(function)
    def call(*tensors):
        compiler = _compiler.get()
        return function(*tensors) if compiler is None else compiler(function)(*tensors)

    return call


@contextlib.contextmanager
def fusing(compiler: Callable) -> Iterator[None]:
    """Within the block, functions that are marked so go through a compiler.

    Args:
        compiler: Function to function; it is called each time, and should remember what it made.
    """
    token = _compiler.set(compiler)
    try:
        yield
    finally:
        _compiler.reset(token)


@fusible
def relu_of_sum(*terms):
    """`relu(terms[0] + terms[1] + ...)`."""
    return ops.relu(sum(terms[1:], terms[0]))
