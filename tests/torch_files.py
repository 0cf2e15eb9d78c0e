"""PyTorch and safetensors files made by hand, as the formats have them; PyTorch itself is not needed."""

import argparse
import collections
import io
import json
import struct
import zipfile

import numpy as np

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}(X\x0d\x00\x00\x00little_endian\x88X\x0a\x00\x00\x00type_sizes}u."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str, key: str, count: int, view: bytes = b"") -> bytes:
    """A persistent id; `view` is its last part in old files."""
    return (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + view + b"tQ"
    )


def tensor(saved: bytes, shape, strides, offset: int = 0) -> bytes:
    arguments = saved + number(offset) + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def mapping(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def zip_file(pickle: bytes, storages: dict[str, bytes], compression=zipfile.ZIP_STORED, **others: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.writestr("model/data.pkl", pickle)
        for key, content in storages.items():
            archive.writestr(f"model/data/{key}", content)
        for name, content in {"version": b"3\n", **others}.items():
            archive.writestr(f"model/{name}", content)
    return packed.getvalue()


def legacy_file(pickle: bytes, storages: dict[str, tuple[int, bytes]], text=text) -> bytes:
    """A file as before PyTorch 1.6; storages are the number of values and their bytes."""
    keys = pickled(b"](" + b"".join(map(text, storages)) + b"e")
    blocks = [struct.pack("<q", count) + content for count, content in storages.values()]
    return b"".join([MAGIC, PROTOCOL, SYSTEM, pickle, keys, *blocks])


def safetensors_file(tensors: dict[str, tuple[str, np.ndarray]], **changes) -> bytes:
    """Tensors as safetensors' name of the type and bytes to store; `changes` replaces entries of the header."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, array) in tensors.items():
        end = len(content) + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(content), end]}
        content += array.tobytes()
    described = json.dumps({**header, **changes}).encode()
    return struct.pack("<Q", len(described)) + described + content


def save(value) -> bytes:
    """A file as `torch.save` writes it, also of namespaces and of dicts with numbers as keys."""
    storages: dict[str, bytes] = {}
    return zip_file(pickled(_encode(value, storages)), storages)


def _encode(value, storages: dict[str, bytes]) -> bytes:
    if isinstance(value, np.ndarray):
        key = str(len(storages))
        storages[key] = value.tobytes()
        kind = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}[value.dtype.name]
        strides = [stride // value.itemsize for stride in value.strides]
        return tensor(storage(kind, key, value.size), value.shape, strides)
    if isinstance(value, argparse.Namespace):
        return b"cargparse\nNamespace\n)\x81" + _encode(vars(value), storages) + b"b"
    if isinstance(value, dict):
        return b"}(" + b"".join(_encode(item, storages) for pair in value.items() for item in pair) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(_encode(item, storages) for item in value) + b"e"
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    return text(value) if isinstance(value, str) else number(value)


def old_text(value: str) -> bytes:
    """A string of Python 2, which is bytes."""
    content = value.encode("latin-1")
    if len(content) < 256:
        return b"U" + bytes([len(content)]) + content
    return b"T" + struct.pack("<i", len(content)) + content


class OldCall:
    """What a function or class gives for arguments, for `OldPickle`; afterwards it gets a state, if there is one."""

    def __init__(self, name: str, *arguments, state=None):
        self.name, self.arguments, self.state = name, arguments, state


class OldObject:
    """An object of a module class, for `OldPickle`.

    Args:
        name: Name of the class.
        attributes: Its attributes; those that every module has are added.
    """

    def __init__(self, name: str, **attributes):
        self.name = name
        hooks = ("_backward_hooks", "_forward_hooks", "_forward_pre_hooks")
        self.attributes = {"_backend": OldCall("torch.nn.backends.thnn._get_thnn_function_backend"), "training": True}
        for key in ("_parameters", "_buffers", *hooks, "_modules"):
            self.attributes[key] = collections.OrderedDict()
        self.attributes |= attributes


class OldPickle:
    """A pickle of whole modules as PyTorch 0.2 writes it under Python 2, for weights on a GPU.

    Attributes:
        storages: What `legacy_file` takes.
    """

    def __init__(self):
        self.storages: dict[str, tuple[int, bytes]] = {}
        self._classes: dict[str, int] = {}

    def file(self, value) -> bytes:
        """The whole file of a value."""
        return legacy_file(pickled(self.encode(value)), self.storages, old_text)

    def encode(self, value) -> bytes:
        if isinstance(value, bytes):
            return value  # Opcodes.
        if isinstance(value, OldObject):
            return self.module_class(value.name) + b")\x81" + self.encode(value.attributes) + b"b"
        if isinstance(value, OldCall):
            state = b"" if value.state is None else self.encode(value.state) + b"b"
            return self._name(value.name) + self.encode(value.arguments) + b"R" + state
        if isinstance(value, np.ndarray):
            return self._tensor(value)
        if isinstance(value, collections.OrderedDict):
            return self.encode(OldCall("collections.OrderedDict", [list(item) for item in value.items()]))
        if isinstance(value, dict):
            return b"}(" + b"".join(self.encode(item) for pair in value.items() for item in pair) + b"u"
        if isinstance(value, (list, tuple)):
            start, end = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
            return start + b"".join(map(self.encode, value)) + end
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        if value is None or isinstance(value, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        return old_text(value) if isinstance(value, str) else b"J" + struct.pack("<i", value)

    def parameter(self, array: np.ndarray) -> bytes:
        """A parameter with its state: trained, not volatile, without hooks."""
        state = (True, False, collections.OrderedDict())
        return self.encode(OldCall("torch.nn.parameter.Parameter", array, state=state))

    def module_class(self, name: str) -> bytes:
        """At first a persistent id with the source of the class, later a reference to it."""
        if name in self._classes:
            return b"h" + bytes([self._classes[name]])
        number = self._classes[name] = 100 + len(self._classes)
        source = old_text(f"/home/user/lib/{name}.py") + old_text("class Module(object):  # \xe9\n" * 20)
        return b"(" + old_text("module") + self._name(name) + b"q" + bytes([number]) + source + b"tQ"

    def _name(self, name: str) -> bytes:
        module, _, attribute = name.rpartition(".")
        return f"c{module}\n{attribute}\n".encode()

    def _tensor(self, array: np.ndarray) -> bytes:
        """A tensor; a view of an array is one of its storage."""
        base = array if array.base is None else array.base
        key = str(id(base))
        self.storages[key] = (base.size, base.tobytes())
        offset = (array.ctypes.data - base.ctypes.data) // array.itemsize
        kind = {"float32": "FloatStorage", "float64": "DoubleStorage"}[array.dtype.name]
        saved = b"(" + old_text("storage") + self._name(f"torch.cuda.{kind}") + old_text(key) + old_text("cuda:0")
        saved += self.encode(base.size) + b"NtQ"
        strides = tuple(stride // array.itemsize for stride in array.strides)
        return self.encode(OldCall("torch._utils._rebuild_tensor", saved, offset, array.shape, strides))
