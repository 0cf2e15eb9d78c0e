"""Model files: what is loaded, and what is refused."""

import importlib
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import cmpc_tf2
import cmpc_video_tf2
from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.predictor import Predictor
from cmpc_tf2.model_files import load_for_inference, load_model, save_model
from cmpc_tf2.systems import SYSTEMS
from conftest import ROOT

# The smallest model that there is.
TINY = DeepLabResNetConfig(width=1, depths=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def backbone() -> DeepLabResNet:
    return DeepLabResNet(TINY, name="backbone")


@pytest.fixture(scope="module")
def backbone_file(backbone, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "backbone.keras"
    save_model(backbone, path)
    return path


@pytest.fixture
def repacked(backbone_file, tmp_path):
    """Writes a copy of a model file with a changed configuration or other members."""

    def write(change=None, compression=zipfile.ZIP_STORED, **members):
        path = tmp_path / "repacked.keras"
        with zipfile.ZipFile(backbone_file) as source, zipfile.ZipFile(path, "w", compression) as target:
            contents = {name: source.read(name) for name in source.namelist()} | members
            if change is not None:
                contents["config.json"] = json.dumps(json.loads(contents["config.json"]) | change).encode()
            for name, content in contents.items():
                target.writestr(name, content)
        return path

    return write


def test_keras_loads_our_files_after_one_import(backbone_file):
    """Keras is imported after the package. Importing the package loads neither Keras nor a model."""
    script = (
        "import sys, cmpc_tf2\n"
        "assert not {'keras', 'tensorflow', 'cmpc_tf2.models'} & set(sys.modules)\n"
        "import keras\n"
        "assert 'cmpc_tf2.models' not in sys.modules\n"
        "print(type(keras.models.load_model(sys.argv[1])).__name__)\n"
    )
    command = [sys.executable, "-c", script, str(backbone_file)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "DeepLabResNet\n", result.stderr


def test_keras_loads_our_files_if_it_was_first(backbone_file, monkeypatch):
    registry, names = keras.saving.get_custom_objects(), {system.registered_name for system in SYSTEMS.values()}
    for name in names:
        monkeypatch.setitem(registry, name, None)
        del registry[name]
    importlib.reload(cmpc_tf2)
    assert names <= set(registry)
    assert isinstance(keras.models.load_model(backbone_file), DeepLabResNet)


def test_one_loader_for_all_models(backbone, backbone_file):
    assert cmpc_video_tf2.load_model is cmpc_tf2.load_model
    loaded = cmpc_video_tf2.load_model(backbone_file)
    for found, expected in zip(loaded.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match="expected one that takes images and expressions, found a DeepLab-ResNet back"):
        Predictor(loaded)


def test_models_are_saved_as_keras_files_only(backbone, tmp_path):
    for name in ("model.h5", "model.hdf5", "model.weights", "model"):
        with pytest.raises(ValueError, match=f"{name}: expected a name that ends in .keras"):
            backbone.save(tmp_path / name)
        with pytest.raises(InputError, match=f"{name}: expected a name that ends in .keras"):
            save_model(backbone, tmp_path / name)
    assert not list(tmp_path.iterdir())


class Foreign(keras.layers.Layer):
    """Must never be instantiated."""

    def __init__(self, **_):
        raise AssertionError


LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wAAAAA=", None, None]}}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"registered_name": "other>Foreign", "class_name": "Foreign"}, "found a Foreign"),
        ({"registered_name": "cmpc>CMPC", "class_name": "CMPC"}, "found a CMPC model, which goes with"),
        ({"class_name": "__numpy__"}, "found a __numpy__"),
        ({"registered_name": ["x"], "class_name": "two\nlines"}, "found no class"),
        ({"config": {"config": {"registered_name": "other>Foreign", "class_name": "Foreign"}}}, "objects of other"),
        ({"config": {"name": [LAMBDA]}}, "objects of other classes in its config.json"),
        ({"build_config": {"input_shape": LAMBDA}}, "objects of other classes in its config.json"),
        ({"config": None}, "config.json in it does not describe a model"),
        ({"config": {"config": {"width": 0}}}, "could not load it: "),
    ],
)
def test_no_other_class_is_instantiated(change, words, repacked, monkeypatch):
    monkeypatch.setitem(keras.saving.get_custom_objects(), "other>Foreign", Foreign)
    with pytest.raises(InputError) as failure:
        load_model(repacked(change), DeepLabResNet)
    assert words in str(failure.value) and "\n" not in str(failure.value)


def test_a_class_of_no_system_is_a_mistake_of_the_caller(backbone_file):
    with pytest.raises(ValueError, match="model_types: expected classes of models of this project, received Model"):
        load_model(backbone_file, keras.Model)


def test_archives_of_another_form_are_refused(backbone_file, repacked, tmp_path):
    with pytest.raises(InputError, match="expected members without compression"):
        load_model(repacked(compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(InputError, match=r"expected config.json, metadata.json, model.weights.h5 in it, found"):
        load_model(repacked(**{"assets/code.py": b"1"}))
    with pytest.raises(InputError, match=r"not a .keras file, or cut off"):
        load_model(repacked(**{"config.json": b"[" * 100_000}))
    damaged = bytearray(backbone_file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.keras").write_bytes(damaged)
    with pytest.raises(InputError, match=r"model.weights.h5 in it is damaged"):
        load_model(tmp_path / "damaged.keras")


def drop(weights: h5py.File, path: str):
    del weights[path]


def reshape(weights: h5py.File, path: str):
    value = weights[path][()]
    drop(weights, path)
    weights[path] = value.reshape(-1)


def compress(weights: h5py.File, path: str):
    value = weights[path][()]
    drop(weights, path)
    weights.create_dataset(path, data=value, compression="gzip")


def link(weights: h5py.File, path: str):
    drop(weights, path)
    weights[path] = h5py.ExternalLink("other.h5", path)


@pytest.mark.parametrize(
    "path, change, words",
    [
        ("layers/conv2d/vars/0", drop, "no value for 1 of 85 weights, the first of them conv1/kernel"),
        ("layers/fixed_batch_normalization_2/vars/3", drop, "expected 4 variables, but received 3"),
        ("layers/conv2d/vars/0", reshape, "must match"),
        ("layers/conv2d/vars/0", compress, "expected one block of numbers, as Keras writes it"),
        ("layers/conv2d/vars/0", link, "no value for 1 of"),
    ],
)
def test_weights_that_are_missing_or_do_not_fit_are_named(path, change, words, backbone_file, repacked):
    with zipfile.ZipFile(backbone_file) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as weights:
        change(weights, path)
    with pytest.raises(InputError) as failure:
        load_model(repacked(**{"model.weights.h5": content.getvalue()}), DeepLabResNet)
    assert "expected a DeepLab-ResNet backbone, could not load it: " in str(failure.value)
    assert words in str(failure.value) and "\n" not in str(failure.value)


def test_models_that_follow_are_initialized_as_before(backbone_file):
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        drawn.append(DeepLabResNet(TINY).get_weights())
        load_model(backbone_file)
    for first, second in zip(*drawn, strict=True):
        np.testing.assert_array_equal(first, second)
    assert np.std(drawn[0][0]) > 0


def test_members_that_overlap_are_not_read(backbone_file, tmp_path):
    """Both members claim the whole file, so their sizes add up to more than it has."""
    content = bytearray(backbone_file.read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(content)):  # Of the directory; both sizes stand there.
        content[entry.start() + 20 : entry.start() + 28] = 2 * (len(content) // 2).to_bytes(4, "little")
    (tmp_path / "overlapping.keras").write_bytes(content)
    with pytest.raises(InputError, match="expected members without compression"):
        load_model(tmp_path / "overlapping.keras")


def test_damaged_model_files_are_reported(backbone_file, tmp_path):
    whole = backbone_file.read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("foreign", b"hello"), ("empty", b"")):
        path = tmp_path / f"{name}.keras"
        path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(f"{path}: not a .keras file, or cut off")):
            load_model(path)


def test_files_of_other_models_are_reported(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    models = "a CMPC model, an RRN model, an RMI model, an LSTM baseline model, .* a MAttNet model or a CAC model"
    with pytest.raises(InputError, match=f"other.keras: expected {models}, found a Sequential"):
        load_for_inference(tmp_path / "other.keras")
