"""State dicts of Mask R-CNN C4, as its authors published them, and back."""

import keras
import numpy as np
import pytest

from cmpc_tf2.conversion.families import load_families, recognize
from cmpc_tf2.conversion.names.mask_rcnn import infer_config, mask_rcnn_pairs
from cmpc_tf2.conversion.pytorch import convert, convert_back
from cmpc_tf2.conversion.torch_reader import read_torch_file
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from torch_files import legacy_file, numbers, pickled, storage, text
from twostage_original import TINY_DETECTOR, read_manifest, state_by_rule

DEFAULT = MaskRCNNC4Config()
UNUSED = {"resnet.fc.weight", "resnet.fc.bias"}


def old_file(state: dict[str, np.ndarray]) -> bytes:
    """A file as PyTorch 0.2 writes an ordered dict of tensors on a GPU."""
    items, storages = [], {}
    for number, (name, value) in enumerate(state.items()):
        key, strides = str(number), [stride // value.itemsize for stride in value.strides]
        saved = storage("FloatStorage", key, value.size, b"N").replace(text("cpu"), text("cuda:0"))
        size = b"ctorch\nSize\n(" + numbers(value.shape) + b"tR"
        arguments = saved + b"K\x00" + size + numbers(strides)
        items.append(text(name) + b"ctorch._utils\n_rebuild_tensor\n(" + arguments + b"tR")
        storages[key] = (value.size, value.tobytes())
    return legacy_file(pickled(b"ccollections\nOrderedDict\n)R(" + b"".join(items) + b"u"), storages)


@pytest.fixture(scope="module")
def state():
    return state_by_rule("maskrcnn_tiny")


@pytest.fixture(scope="module")
def checkpoint(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("mask_rcnn") / "res101_mask_rcnn_iter_1250000.pth"
    path.write_bytes(old_file(state))
    return str(path)


def test_there_and_back(checkpoint, state, tmp_path):
    model_file, back = str(tmp_path / "model.keras"), str(tmp_path / "back.pth")
    report = convert(checkpoint, model_file)
    assert report["model"] == "mask_rcnn" and len(report["converted"]) == len(state) - 2
    assert {entry["torch"] for entry in report["ignored"]} == UNUSED
    assert all("ImageNet" in entry["why"] for entry in report["ignored"])
    expected = {**TINY_DETECTOR.to_dict(), **{name: getattr(DEFAULT, name) for name in report["assumed"]}}
    assert report["config"] == expected and "shorter_side" in report["assumed"]
    model = load_model(model_file, MaskRCNNC4)
    kernel = model.mask_head.get_layer("mask_up_sampling").kernel
    np.testing.assert_array_equal(kernel, state["mask_up_sampling.weight"].transpose(2, 3, 1, 0))
    assert convert_back(model_file, back) == len(state)
    found = read_torch_file(back)
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype
        assert name in UNUSED or found[name].tobytes() == value.tobytes()
        assert name not in UNUSED or not found[name].any()


def test_files_with_counters_of_batches(state, write_torch, tmp_path):
    counters = {f"{name[:-5]}.num_batches_tracked": np.zeros(1, np.int64) for name in ("resnet.bn1.bias",)}
    report = convert(write_torch({**state, **counters}), str(tmp_path / "model.keras"))
    assert {entry["torch"] for entry in report["ignored"]} == UNUSED | counters.keys()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda state: state.pop("resnet.layer3.5.bn3.running_var"), "missing: resnet.layer3.5.bn3.running_var"),
        (lambda state: state.update(extra=state["rpn_net.bias"]), "unexpected: extra"),
        (
            lambda state: state.update({"bbox_pred_net.bias": np.zeros(81, np.float32)}),
            r"wrong shape: bbox_pred_net.bias is \[81\], expected \[324\]",
        ),
    ],
)
def test_files_that_do_not_fit(state, write_torch, tmp_path, change, words):
    changed = dict(state)
    change(changed)
    with pytest.raises(InputError, match=words):
        convert(write_torch(changed), str(tmp_path / "model.keras"))
    assert not (tmp_path / "model.keras").exists()


def test_sizes_follow_from_the_released_shapes():
    shapes = read_manifest("maskrcnn_full")
    assert infer_config(shapes) == DEFAULT
    assert {pair.torch for pair in mask_rcnn_pairs(DEFAULT)} == shapes.keys() - UNUSED


def test_names_are_those_of_the_weights():
    model = MaskRCNNC4(TINY_DETECTOR)
    assert sorted(pair.keras for pair in mask_rcnn_pairs(TINY_DETECTOR)) == sorted(v.path for v in model.variables)
    assert keras.saving.get_registered_name(MaskRCNNC4) == "cmpc>MaskRCNNC4"


def test_only_this_family_fits():
    shapes = read_manifest("maskrcnn_full")
    assert recognize("file", shapes, "torch").name == "mask_rcnn"
    assert [name for name, family in load_families("torch").items() if family.fits(shapes)] == ["mask_rcnn"]
    # A model that contains a detector.
    assert not load_families("torch")["mask_rcnn"].fits({**shapes, "rnn_encoder.embedding.weight": (5, 6)})
