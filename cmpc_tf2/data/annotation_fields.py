"""Fields of annotation files: checked where they are used, with messages in words that do not name the file."""

from cmpc_tf2.errors import InputError

_KINDS = {int: "a whole number", str: "text", list: "a list", dict: "an object"}
# Ids are part of file names: no file has a longer one.
_LARGEST = 10**18


def checked(value, kind: type, name: str):
    """Checks the type of a value from an annotation file.

    Args:
        value: The value.
        kind: `int`, `str`, `list` or `dict`.
        name: Name of the value in the message.

    Returns:
        The value.

    Raises:
        InputError: The value has another type, or is a number of more than 18 digits.
    """
    is_kind = isinstance(value, kind) and not isinstance(value, bool)
    if not is_kind or (kind is int and abs(value) >= _LARGEST):
        raise InputError(f"expected {_KINDS[kind]} for {name}, found {describe(value)}")
    return value


def field(entry: dict, key: str, kind: type):
    """Checks the type of a field; arguments and errors are those of `checked`."""
    if key not in entry:
        raise InputError(f"expected {_KINDS[kind]} for {key}, which is missing")
    return checked(entry[key], kind, key)


def text_field(entry: dict, key: str) -> str:
    """Checks that a field is text that can be written as UTF-8; errors are those of `checked`."""
    text = field(entry, key, str)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"expected Unicode text for {key}, found {describe(text)}") from error
    return text


def path_field(entry: dict, key: str) -> str:
    """Checks that a field can be the path of a file; errors are those of `checked`."""
    text = text_field(entry, key)
    if not text or "\0" in text:
        raise InputError(f"expected a path for {key}, found {describe(text)}")
    return text


def describe(value) -> str:
    """A value from JSON or a pickle in a few words, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return "a number of more than 18 digits"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (str, bytes)):
        return repr(value if len(value) <= 60 else value[:60]) + ("..." if len(value) > 60 else "")
    return "an object" if isinstance(value, dict) else "a list"


def is_plain_name(name: str) -> bool:
    """Whether a text can be the name of a file, without folders."""
    return name.isprintable() and "/" not in name and 0 < len(name.encode()) <= 200
