"""PyTorch and safetensors files: what they hold, and those that are damaged or ask for more than data."""

import argparse
import os
import struct
import subprocess
import zipfile

import numpy as np
import pytest

from cmpc_tf2.conversion.torch_checkpoint import TorchCheckpoint, is_torch_file
from cmpc_tf2.conversion.torch_reader import find_format, read_safetensors, read_torch_file
from cmpc_tf2.conversion.torch_writer import write_torch_file
from cmpc_tf2.errors import InputError
from torch_files import (
    legacy_file,
    mapping,
    number,
    pickled,
    safetensors_file,
    storage,
    tensor,
    text,
    zip_file,
)

VALUES = np.arange(6, dtype="<f4")
STATE = {
    "model": {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "half": np.float16([1.5, -2]),
        "small": np.array([[1, -1]], np.int8),
        "bytes": np.array([0, 255], np.uint8),
        "flags": np.array([True, False]),
    },
    "epoch": 49,
    "large": -(2**70),
    "rates": [0.1, 1e-300, (1, "café"), None, True, False],
    "nested": {"a": {}, "b": []},
}


@pytest.fixture
def read(tmp_path):
    def read(content: bytes, name: str = "file.pth"):
        (tmp_path / name).write_bytes(content)
        return (read_safetensors if name.endswith(".safetensors") else read_torch_file)(tmp_path / name)

    return read


@pytest.fixture
def assert_refused(read):
    def assert_refused(content: bytes, *expected: str, name: str = "file.pth"):
        with pytest.raises(InputError) as failure:
            read(content, name)
        message = str(failure.value)
        for words in (name, *expected):
            assert words in message
        assert "\n" not in message

    return assert_refused


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def test_what_is_written_is_read(tmp_path):
    write_torch_file(tmp_path / "a.pth", STATE)
    write_torch_file(tmp_path / "b.pth", STATE)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()
    assert_same(read_torch_file(tmp_path / "a.pth"), STATE)
    assert find_format(tmp_path / "a.pth") == "torch"


@pytest.mark.parametrize("value", [{1: 2}, {"a": np.zeros(2, np.complex64)}, {"a": {1, 2}}, {"a": np.float32(1)}])
def test_other_values_are_not_written(value, tmp_path):
    with pytest.raises(TypeError, match="expected"):
        write_torch_file(tmp_path / "a.pth", value)
    assert not list(tmp_path.iterdir())


def test_views_of_one_storage(read):
    saved = storage("FloatStorage", "0", 6)
    state = mapping(
        whole=tensor(saved, (2, 3), (3, 1)),
        transposed=tensor(saved, (3, 2), (1, 3)),
        column=tensor(saved, (2,), (3,), offset=1),
        repeated=tensor(saved, (2, 2), (0, 1)),
        scalar=tensor(saved, (), (), offset=5),
    )
    for content in (
        zip_file(pickled(state), {"0": VALUES.tobytes()}),
        legacy_file(pickled(state), {"0": (6, VALUES.tobytes())}),
    ):
        found = read(content)
        np.testing.assert_array_equal(found["whole"], VALUES.reshape(2, 3))
        np.testing.assert_array_equal(found["transposed"], VALUES.reshape(2, 3).T)
        np.testing.assert_array_equal(found["column"], [1, 4])
        np.testing.assert_array_equal(found["repeated"], [[0, 1], [0, 1]])
        assert found["scalar"] == 5
        assert not any(array.flags.writeable for array in found.values())


def test_a_storage_within_a_storage_of_an_old_file(read):
    view = b"(" + text("0view") + number(2) + number(3) + b"t"
    state = mapping(part=tensor(storage("FloatStorage", "0", 6, view), (3,), (1,)))
    np.testing.assert_array_equal(read(legacy_file(pickled(state), {"0": (6, VALUES.tobytes())}))["part"], [2, 3, 4])


def test_bfloat16_becomes_float32(read):
    stored = np.array([0x3F80, 0xC020, 0x7F80], "<u2")
    state = pickled(mapping(a=tensor(storage("BFloat16Storage", "0", 3), (3,), (1,))))
    for content in (zip_file(state, {"0": stored.tobytes()}), legacy_file(state, {"0": (3, stored.tobytes())})):
        assert_same(read(content)["a"], np.float32([1, -2.5, np.inf]))
    assert_same(read(safetensors_file({"a": ("BF16", stored)}), "a.safetensors")["a"], np.float32([1, -2.5, np.inf]))


def test_parameters_namespaces_and_sets(read):
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + tensor(storage("FloatStorage", "0", 6), (6,), (1,))
    state = mapping(
        parameter=parameter + b"\x88ccollections\nOrderedDict\n)RtR",
        args=b"cargparse\nNamespace\n)\x81" + mapping(lr=number(3)) + b"b",
        ordered=b"ccollections\nOrderedDict\n)R(" + text("a") + number(1) + b"u" + mapping(_metadata=b"}") + b"b",
        names=b"c__builtin__\nset\n](" + text("a") + text("b") + b"e\x85R",
    )
    found = read(zip_file(pickled(state), {"0": VALUES.tobytes()}))
    np.testing.assert_array_equal(found["parameter"], VALUES)
    assert found["args"] == argparse.Namespace(lr=3)
    assert found["ordered"] == {"a": 1} and found["names"] == {"a", "b"}


def test_safetensors(read, tmp_path):
    tensors = {"a": ("F32", VALUES.reshape(2, 3)), "b": ("I64", np.array(3)), "c": ("F16", np.zeros((0, 2), "<f2"))}
    found = read(safetensors_file(tensors), "a.safetensors")
    assert_same(found, {name: array for name, (_, array) in tensors.items()})
    assert find_format(tmp_path / "a.safetensors") == "safetensors"


def forged(**items: bytes) -> bytes:
    return zip_file(pickled(mapping(**items)), {"0": VALUES.tobytes()})


GLOBALS = {
    "os.system": b"cos\nsystem\n" + b"(" + text("true") + b"tR",
    "torch.nn.modules.linear.Linear": b"ctorch.nn.modules.linear\nLinear\n)\x81",
    "pathlib.PosixPath": b"cpathlib\nPosixPath\n)R",
    "builtins.getattr": text("builtins") + text("getattr") + b"\x93",
}


@pytest.mark.parametrize("name", GLOBALS)
def test_classes_and_functions_are_named(name, assert_refused):
    assert_refused(forged(a=GLOBALS[name]), f"names {name}; only tensors, numbers, strings")
    assert_refused(legacy_file(pickled(mapping(a=GLOBALS[name])), {}), f"names {name}; only tensors")


def test_names_of_any_length_and_lines(assert_refused):
    assert_refused(forged(a=text("a\nb") + text("c" * 10_000) + b"\x93"), "names a [...]")
    dangling = tensor(storage("FloatStorage", "x\ny", 6), (6,), (1,))
    assert_refused(zip_file(pickled(dangling), {}), "lacks its member data/x y")
    assert_refused(safetensors_file({"a\nb": ("F8_E5M2", VALUES)}), "a b is of type", name="a.safetensors")


def test_sparse_and_quantized_tensors(assert_refused):
    for function in ("_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor"):
        assert_refused(forged(a=f"ctorch._utils\n{function}\n)R".encode()), "holds a sparse tensor")
    assert_refused(forged(a=b"ctorch._utils\n_rebuild_qtensor\n)R"), "holds a quantized tensor")


def test_tensors_larger_than_their_storage(assert_refused):
    saved = storage("FloatStorage", "0", 6)
    for shape, strides, offset in (((2**40,), (1,), 0), ((2**40,), (0,), 0), ((2, 3), (4, 1), 0), ((3,), (1,), 4)):
        words = f"a tensor of shape {list(shape)} is larger than its storage of 6 values"
        content = mapping(a=tensor(saved, shape, strides, offset))
        assert_refused(zip_file(pickled(content), {"0": VALUES.tobytes()}), words)
        assert_refused(legacy_file(pickled(content), {"0": (6, VALUES.tobytes())}), words)


def test_storages_larger_than_the_file(assert_refused):
    state = pickled(mapping(a=tensor(storage("FloatStorage", "0", 2**40), (2**40,), (1,))))
    assert_refused(zip_file(state, {"0": VALUES.tobytes()}), "storage 0 with 24 bytes; expected 1099511627776 values")
    assert_refused(legacy_file(state, {"0": (2**40, VALUES.tobytes())}), "which the file is too small for")


def test_a_missing_storage(assert_refused):
    state = pickled(mapping(a=tensor(storage("FloatStorage", "7", 6), (6,), (1,))))
    assert_refused(zip_file(state, {"0": VALUES.tobytes()}), "lacks its member data/7")
    assert_refused(legacy_file(state, {}), "lacks storage 7")


CYCLES = [b"]q\x00h\x00a", b"]q\x00(h\x00ta", b"}q\x00" + text("a") + b"h\x00s"]
CYCLES.append(b"cargparse\nNamespace\n)\x81q\x00}" + text("a") + b"h\x00sb")


@pytest.mark.parametrize("value", CYCLES)
def test_objects_that_contain_themselves(value, assert_refused):
    assert_refused(forged(a=value), "that contains itself")


def test_lists_within_many_lists_are_read(read):
    assert len(read(forged(a=b"]" * 100_000 + b"a" * 99_999))["a"]) == 1


def test_one_object_in_many_places_is_no_cycle(read):
    """Walked as a tree it would have 2^60 leaves."""
    doubled = b"".join(b"](h%ch%ceq%c" % (level, level, level + 1) for level in range(60))
    lists = read(forged(a=b"(]q\x00" + doubled + b"t"))["a"]
    assert len(lists) == 61 and lists[60][0] is lists[60][1] is lists[59]


def test_tuples_as_keys(assert_refused):
    """A tuple within many tuples takes exponential time to hash."""
    assert_refused(forged(a=b"})Ns"), "has a tuple as a key; expected strings and numbers")
    assert_refused(forged(a=b"c__builtin__\nset\n])a\x85R"), "has a tuple as a key")


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_truncated_files(size, assert_refused):
    state = pickled(mapping(a=tensor(storage("FloatStorage", "0", 6), (2, 3), (3, 1))))
    for content in (zip_file(state, {"0": VALUES.tobytes()}), legacy_file(state, {"0": (6, VALUES.tobytes())})):
        if size < len(content):
            assert_refused(content[:size])


def test_damaged_members(assert_refused):
    state = pickled(mapping(a=tensor(storage("FloatStorage", "0", 6), (2, 3), (3, 1))))
    content = zip_file(state, {"0": VALUES.tobytes()})
    at = content.index(VALUES.tobytes())
    assert_refused(content[:at] + b"\xff" + content[at + 1 :], "has a damaged member data/0")
    compressed = zip_file(state, {"0": VALUES.tobytes() * 10}, zipfile.ZIP_DEFLATED)
    assert_refused(compressed, "expected it as torch.save writes it")
    assert_refused(zip_file(state, {"0": VALUES.tobytes()}, byteorder=b"big"), "big-endian")


def test_files_of_other_kinds(assert_refused, tmp_path):
    assert_refused(b"", "is empty")
    assert_refused(b"\x80\x02}.", "is not a PyTorch file")
    assert_refused(b"PK\x03\x04" + bytes(100), "is damaged or cut off")
    np.savez(tmp_path / "arrays.npz", a=VALUES)
    assert_refused((tmp_path / "arrays.npz").read_bytes(), "without data.pkl")
    assert_refused(zip_file(pickled(b"](e"), {}), "expected a dict of tensors, found a list")
    (tmp_path / "short.safetensors").write_bytes(safetensors_file({})[:7])
    with pytest.raises(InputError, match=r"short\.safetensors: not a readable safetensors file: its header"):
        TorchCheckpoint(tmp_path / "short.safetensors")
    with pytest.raises(InputError, match=r"nothing\.pth: no such file"):
        read_torch_file(tmp_path / "nothing.pth")


SAFETENSORS = {
    "too long a header": (struct.pack("<Q", 2**60) + b"{}", "its header"),
    "no header": (struct.pack("<Q", 2) + b"[]", "its header"),
    "nested header": (struct.pack("<Q", 100_000) + b"[" * 100_000, "its header"),
    "type": (safetensors_file({"a": ("F8_E5M2", VALUES)}), "a is of type F8_E5M2; expected F64, F32"),
    "shape": (safetensors_file({"a": ("F32", VALUES)}, a={"dtype": "F32", "shape": [2**40], "data_offsets": [0, 24]}),
              "a, F32 [1099511627776], is at bytes 0 to 24, expected 0 to 4398046511104: its header is damaged"),
    "overlap": (safetensors_file({"a": ("F32", VALUES)}, b={"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}),
                "b, F32 [6], is at bytes 0 to 24, expected 24 to 48"),
    "negative": (safetensors_file({}, a={"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}), "its header"),
    "cut off": (safetensors_file({"a": ("F32", VALUES)})[:-1], "is damaged or cut off"),
    "longer": (safetensors_file({"a": ("F32", VALUES)}) + b"x", "is damaged or cut off"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAFETENSORS)
def test_damaged_safetensors(name, assert_refused):
    content, words = SAFETENSORS[name]
    assert_refused(content, words, name="a.safetensors")


def test_files_are_recognized_by_content(tmp_path):
    (tmp_path / "checkpoint").write_bytes(legacy_file(pickled(b"}"), {}))
    (tmp_path / "bert").write_bytes(safetensors_file({"a": ("F32", VALUES)}))
    (tmp_path / "ckpt").write_bytes(bytes(100))
    assert is_torch_file(tmp_path / "checkpoint") and is_torch_file(tmp_path / "bert")
    assert not is_torch_file(tmp_path / "ckpt") and not is_torch_file(tmp_path / "absent")
    assert is_torch_file(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"model": state}, lambda state: {"state_dict": state}]
)
def test_state_dicts_are_found(wrap, tmp_path):
    write_torch_file(tmp_path / "a.pth", wrap({"module.a": VALUES, "module.b": VALUES}))
    assert list(TorchCheckpoint(tmp_path / "a.pth").tensors) == ["a", "b"]


@pytest.mark.parametrize(
    "state, words",
    [
        ({}, "found 0 tensors"),
        ({"model": {}}, "found 0 tensors"),
        ({"epoch": 3, "net": {"a": VALUES}}, "'epoch' is a int, not a tensor"),
        ({"a": VALUES, "module.a": VALUES}, "has two tensors for 'a'"),
    ],
)
def test_files_without_a_state_dict(state, words, tmp_path):
    write_torch_file(tmp_path / "a.pth", state)
    with pytest.raises(InputError, match=words):
        TorchCheckpoint(tmp_path / "a.pth")


@pytest.mark.slow
def test_pytorch_reads_and_writes_the_same(tmp_path):
    """With a Python that has PyTorch and safetensors, named by TORCH_PYTHON."""
    if not (python := os.environ.get("TORCH_PYTHON")):
        pytest.skip("no Python with PyTorch (TORCH_PYTHON)")
    write_torch_file(tmp_path / "ours.pth", STATE)
    script = """
import collections, sys, torch, safetensors.torch
state = torch.load(sys.argv[1], weights_only=True)
bfloat16 = collections.OrderedDict(a=torch.tensor([1.0, -2.5], dtype=torch.bfloat16))
state |= {"ordered": bfloat16, "parameter": torch.nn.Parameter(torch.ones(2, 3).T)}
torch.save(state, sys.argv[2])
torch.save(state, sys.argv[3], _use_new_zipfile_serialization=False)
safetensors.torch.save_file({**bfloat16, "b": state["model"]["matrix"]}, sys.argv[4])
"""
    paths = [tmp_path / name for name in ("ours.pth", "new.pth", "legacy.pth", "new.safetensors")]
    subprocess.run([python, "-c", script, *map(str, paths)], check=True)
    expected = {**STATE, "ordered": {"a": np.float32([1, -2.5])}, "parameter": np.ones((3, 2), np.float32)}
    for path in paths[1:3]:
        assert_same(read_torch_file(path), expected)
    found = read_safetensors(paths[3])
    assert_same({name: found[name] for name in "ab"}, {"a": np.float32([1, -2.5]), "b": STATE["model"]["matrix"]})
