"""Errors that a user can fix."""

import contextlib
from collections.abc import Callable, Iterator


class InputError(ValueError):
    """An input cannot be used.

    The message names the file or setting, what was expected, what was found and how to fix it. Commands print it as one
    line and exit with 1.
    """


class UsageError(InputError):
    """An option has a value that it cannot have. Commands exit with 2."""


@contextlib.contextmanager
def named(name: object, advice: str | Callable[[], str] = "") -> Iterator[None]:
    """Puts the name of a file before the message of an `InputError`, and advice, or what gives it, behind it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}{advice() if callable(advice) else advice}") from error


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or the name of its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
