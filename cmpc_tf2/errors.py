"""Errors that a user can fix."""


class InputError(ValueError):
    """An input cannot be used.

    The message names the file or setting, what was expected, what was found and how to fix it. Commands print it as one
    line and exit with 1.
    """


class UsageError(InputError):
    """An option has a value that it cannot have. Commands exit with 2."""
