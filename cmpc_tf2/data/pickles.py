"""Pickles of plain data. Reading one runs no code and takes memory in proportion to the file."""

import io
import os
import pickle
import pickletools

from cmpc_tf2.errors import InputError
from cmpc_tf2.files import read_bytes

_ONLY_PLAIN = "only plain lists, dicts, strings and numbers are read"

# By opcode: the size of its argument in bytes, or for arguments of any length how their end is found.
_ARGUMENTS = {op.code.encode("latin-1")[0]: op.arg.n if op.arg else 0 for op in pickletools.opcodes}
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_OPCODES = {op.name: op.code.encode("latin-1")[0] for op in pickletools.opcodes}
# No tuples and no sets: as keys of a dict, tuples within tuples take exponential time.
_PLAIN = {
    _OPCODES[name]
    for name in (
        *("PROTO", "FRAME", "MARK", "STOP", "NONE", "NEWTRUE", "NEWFALSE"),
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
        *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    )
}
# Opcodes that name a class or an outside object: the unpickler refuses them by that name.
_NAMING = {_OPCODES[name] for name in ("GLOBAL", "STACK_GLOBAL", "INST", "PERSID", "BINPERSID")}
_STOP, _PUT, _LONG_BINPUT = (_OPCODES[name] for name in ("STOP", "PUT", "LONG_BINPUT"))
# Bytes of plain opcodes that need no look at their argument; 0 for the others.
_STEPS = [
    1 + _ARGUMENTS[code] if code in _PLAIN - {_STOP, _LONG_BINPUT} and _ARGUMENTS[code] >= 0 else 0
    for code in range(256)
]


class _PlainDataUnpickler(pickle.Unpickler):
    """Refuses everything that a pickle can name: it could run code."""

    def find_class(self, module, name):
        raise InputError(f"names {module}.{name}; {_ONLY_PLAIN}")

    def persistent_load(self, pid):
        raise InputError(f"refers to outside objects; {_ONLY_PLAIN}")


def read_plain_pickle(path: str | os.PathLike):
    """Reads a pickle of plain data, also one written by Python 2.

    Raises:
        InputError: The file is missing, damaged, or holds anything but plain data.
    """
    content = read_bytes(path, "data/README.md says where to get the annotations")
    try:
        _check_opcodes(content)
        try:
            return _PlainDataUnpickler(io.BytesIO(content), encoding="utf-8").load()
        except UnicodeDecodeError:
            return _PlainDataUnpickler(io.BytesIO(content), encoding="latin-1").load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # The unpickler raises nearly anything for a damaged file.
        raise InputError(f"{path}: not a readable pickle: it is damaged; get it again") from error


def _check_opcodes(content: bytes):
    """Walks over a pickle without building anything.

    Raises:
        InputError: The pickle is cut off, or asks for other objects or for more memory than plain data of its size
            needs.
    """
    at = 0
    try:
        while True:
            code = content[at]
            if step := _STEPS[code]:  # Most opcodes, handled fast.
                at += step
            elif code == _STOP or code in _NAMING:
                return
            elif code in _PLAIN:
                at = _skip_argument(content, at)
            else:
                raise InputError(f"not a readable pickle of plain data, at byte {at}; {_ONLY_PLAIN}")
    except IndexError:
        raise InputError("not a readable pickle: it is cut off; get it again") from None


def _skip_argument(content: bytes, at: int) -> int:
    """The end of the opcode at `at`, which has an argument of any length or puts something in the memo.

    Raises:
        IndexError: The argument is cut off.
    """
    code, start = content[at], at + 1
    size = _ARGUMENTS[code]
    if size == pickletools.UP_TO_NEWLINE:
        size = content.find(b"\n", start) + 1 - start
    elif size < 0:
        prefix = _LENGTH_BYTES[size]
        size = prefix + int.from_bytes(content[start : start + prefix], "little")
    end = start + size
    if not start <= end <= len(content):
        raise IndexError
    index = 0
    if code == _LONG_BINPUT:
        index = int.from_bytes(content[start:end], "little")
    elif code == _PUT:
        index = int(content[start:end])
    # The memo takes memory for every index up to the highest. Picklers count from 0 or 1.
    if index > end:
        raise InputError(f"not a readable pickle: byte {at} asks for more memory than the file can need")
    return end
