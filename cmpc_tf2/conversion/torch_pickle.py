"""The pickles within PyTorch files: tensors and plain data. Reading one runs no code of the file or of PyTorch."""

import argparse
import math
import pickletools
from collections.abc import Callable, Collection

import numpy as np

from cmpc_tf2.errors import InputError

# Types of storages in `torch`, and their data types.
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
ORDERED_DICT, NAMESPACE = "collections.OrderedDict", "argparse.Namespace"
# Before PyTorch 0.4: a tensor, a parameter of it, and the shape of one.
_OLD_TENSOR, _OLD_PARAMETER = "torch._utils._rebuild_tensor", "torch.nn.parameter.Parameter"
_SIZE = "torch.Size"
_SETS = ("builtins.set", "__builtin__.set")
_STORAGE_NAMES = {f"{module}.{name}": dtype for name, dtype in STORAGES.items() for module in ("torch", "torch.cuda")}
_CALLABLE = {TENSOR, PARAMETER, _OLD_TENSOR, _OLD_PARAMETER, _SIZE, ORDERED_DICT, NAMESPACE, *_SETS}
_ADMITTED = {*_CALLABLE, *_STORAGE_NAMES}
_REFUSED = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantized tensor",
}
_ONLY_DATA = "only tensors, numbers, strings, lists, dicts and argparse.Namespace are read"
_ADVICE = "save the weights alone, as a state dict, and annotations as plain lists"

_WITH_VALUE = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NEW = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_GET, _PUT = {"GET", "BINGET", "LONG_BINGET"}, {"PUT", "BINPUT", "LONG_BINPUT"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MOST_DIMENSIONS = 32


class _Name(str):
    """A class or function that a pickle names. It is never imported."""


class Module:
    """An object of a class of modules, which is never imported.

    Attributes:
        attributes: Its attributes by name.
    """

    def __init__(self):
        self.attributes = {}


class _Storage:
    """The values of a storage; of its own type, so that no tensor can be given for one."""

    def __init__(self, values: np.ndarray | None):
        self.values = values


class TorchUnpickler:
    """Reads one pickle of a PyTorch file.

    Args:
        stream: A binary file at the beginning of the pickle; afterwards it is at its end.
        load_storage: Called with the data type, the key and the number of values of a storage. Returns the values, an
            array `(n,)`, or None to leave out the tensors that use it.
        classes: Names of classes whose objects are read as an `argparse.Namespace` of their attributes.
        modules: Beginnings of names of classes whose objects are read as a `Module`.
    """

    def __init__(
        self,
        stream,
        load_storage: Callable[[str, str, int], np.ndarray | None],
        classes: Collection[str] = (),
        modules: tuple[str, ...] = (),
    ):
        self._stream, self._load_storage = stream, load_storage
        self._namespaces, self._modules = {NAMESPACE, *classes}, modules
        self._stack, self._marks, self._memo = [], [], {}

    def load(self):
        """The content of the pickle. An ordered dict becomes a dict, a tensor or parameter a read-only array.

        Raises:
            InputError: The pickle holds anything else. The message does not name the file.
            Exception: The pickle is damaged.
        """
        for opcode, argument, _ in pickletools.genops(self._stream):
            name = opcode.name
            if name in _WITH_VALUE:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _NEW:
                self._stack.append(_NEW[name]())
            elif name in _GET:
                self._stack.append(self._memo[argument])
            elif name in _PUT or name == "MEMOIZE":
                self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._stack[-1]
            elif name == "STOP":
                break
            elif name not in ("PROTO", "FRAME"):
                self._apply(name, argument)
        (value,) = self._stack
        _require_acyclic(value)
        return value

    def _apply(self, name: str, argument):
        """Carries out an opcode that builds something from the stack."""
        stack = self._stack
        match name:
            case "MARK":
                self._marks.append(len(stack))
            case "LIST":
                stack.append(self._pop_marked())
            case "TUPLE":
                stack.append(tuple(self._pop_marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
            case "DICT":
                stack.append(_dict_of(self._pop_marked()))
            case "APPEND" | "APPENDS":
                items = self._pop_marked() if name == "APPENDS" else [stack.pop()]
                self._top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._pop_marked() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                self._top(dict).update(_dict_of(items))
            case "ADDITEMS":
                items = self._pop_marked()
                self._top(set).update(map(_key, items))
            case "GLOBAL":
                stack.append(self._admit(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                module, attribute = stack.pop(-2), stack.pop()
                stack.append(self._admit(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                function, arguments = stack.pop(-2), stack.pop()
                stack.append(self._call(function, arguments))
            case "BUILD":
                self._set_state(stack.pop())
            case "BINPERSID":
                stack.append(self._load_persistent(stack.pop()))
            case _:
                raise InputError(f"has the opcode {name} of pickles; {_ONLY_DATA}")

    def _admit(self, name: str) -> _Name:
        if name in _REFUSED:
            raise InputError(f"holds {_REFUSED[name]}, which is not read; save it as a dense float32 tensor")
        if name not in _ADMITTED and name not in self._namespaces and not name.startswith(self._modules):
            raise InputError(f"names {name}; {_ONLY_DATA}; {_ADVICE}")
        return _Name(name)

    def _pop_marked(self) -> list:
        """Takes everything above the last mark from the stack."""
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _top(self, kind: type):
        """The object that items are added to."""
        if type(self._stack[-1]) is not kind:
            raise TypeError
        return self._stack[-1]

    def _call(self, function, arguments: tuple):
        if type(function) is not _Name or type(arguments) is not tuple:
            raise TypeError
        if function in (TENSOR, _OLD_TENSOR):
            return self._make_tensor(*arguments[:4])
        if function in (PARAMETER, _OLD_PARAMETER):
            if not isinstance(arguments[0], np.ndarray | None):
                raise TypeError
            return arguments[0]
        if function == _SIZE:
            return tuple(arguments[0])
        if function == ORDERED_DICT:
            pairs = arguments[0] if arguments else []
            return _dict_of([item for key, value in pairs for item in (key, value)])
        if function in _SETS:
            return set(map(_key, arguments[0]))
        if function in self._namespaces and not arguments:
            return argparse.Namespace()
        if function.startswith(self._modules) and not arguments:
            return Module()
        raise TypeError

    def _set_state(self, state):
        """Sets the attributes of a namespace or module. The states of others, such as versions, are dropped."""
        target = self._stack[-1]
        if isinstance(target, Module) and type(state) is not dict:
            return  # What PyTorch could not save.
        if isinstance(target, np.ndarray | None) and type(state) is tuple:
            return  # Whether an old parameter is trained.
        if type(state) is not dict or not isinstance(target, (dict, argparse.Namespace, Module)):
            raise TypeError
        if not isinstance(target, dict):
            attributes = target.attributes if isinstance(target, Module) else vars(target)
            attributes.update({key: value for key, value in state.items() if isinstance(key, str)})

    def _load_persistent(self, identity: tuple) -> _Storage | _Name:
        """A storage, or the class of a module, which comes with its source."""
        if identity[0] == "module" and type(identity[1]) is _Name:
            return identity[1]
        kind, storage_type, key, _, count, *view = identity
        if kind != "storage" or type(storage_type) is not _Name or not isinstance(key, str) or not _is_size(count):
            raise TypeError
        values = self._load_storage(_STORAGE_NAMES[storage_type], key, count)
        if any(view) and values is not None:  # Old files have storages within storages.
            ((_, start, length),) = view
            if not (_is_size(start) and _is_size(length) and start + length <= count):
                raise InputError(f"storage {key} ends before a view of it")
            values = values[start : start + length]
        return _Storage(values)

    def _make_tensor(self, storage, offset: int, shape: tuple, strides: tuple) -> np.ndarray | None:
        is_valid = type(storage) is _Storage and len(shape) <= _MOST_DIMENSIONS
        if not is_valid or not all(map(_is_size, (offset, *shape, *strides))):
            raise TypeError
        values = storage.values
        if values is None:
            return None
        size = math.prod(shape)
        end = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) + 1
        if size > values.size or (size and end > values.size):
            raise InputError(
                f"a tensor of shape {list(shape)} is larger than its storage of {values.size} values; copy it again"
            )
        if not size:
            return np.empty(shape, values.dtype)
        steps = [stride * values.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)


def _dict_of(items: list) -> dict:
    """A dict of keys and values in turn."""
    return dict(zip(map(_key, items[::2]), items[1::2], strict=True))


def _key(value):
    """A key of a dict or an item of a set. Tuples within tuples would take exponential time to hash."""
    if type(value) not in (str, int, float, bool, bytes, type(None)):
        raise InputError(f"has a {type(value).__name__} as a key; expected strings and numbers")
    return value


def _is_size(value) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _require_acyclic(root):
    """Checks that no object contains itself.

    Raises:
        InputError: One does.
    """
    finished, entered = set(), set()
    pending = [(root, False)]  # No recursion: a file may be nested too deeply for it.
    while pending:
        value, is_left = pending.pop()
        if is_left:
            finished.add(id(value))
        elif id(value) not in finished and (children := _children(value)):
            if id(value) in entered:
                raise InputError(f"holds a {type(value).__name__} that contains itself; save the weights alone")
            entered.add(id(value))
            pending.append((value, True))
            pending += ((child, False) for child in children)


def _children(value) -> list:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, argparse.Namespace):
        return list(vars(value).values())
    if isinstance(value, Module):
        return list(value.attributes.values())
    return list(value) if isinstance(value, (list, tuple)) else []
