"""PyTorch and safetensors files made by hand, as the formats have them; PyTorch itself is not needed."""

import argparse
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


def legacy_file(pickle: bytes, storages: dict[str, tuple[int, bytes]]) -> bytes:
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
