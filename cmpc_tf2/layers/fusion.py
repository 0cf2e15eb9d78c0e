"""Chains of elementwise operations, which a compiler turns into one pass over memory."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

from keras import ops

_compiler: contextvars.ContextVar[Callable | None] = contextvars.ContextVar("compiler", default=None)


def fusible(function: Callable) -> Callable:
    """Marks a function of tensors as a chain of elementwise operations, which is bound by memory."""

    @functools.wraps(function)
    def call(*tensors):
        compiler = _compiler.get()
        return function(*tensors) if compiler is None else compiler(function)(*tensors)

    return call


@contextlib.contextmanager
def fusing(compiler: Callable) -> Iterator[None]:
    """Within the block, functions marked by `fusible` are compiled.

    Args:
        compiler: Returns the compiled form of a function; it is called each time, so it should cache the result.
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
