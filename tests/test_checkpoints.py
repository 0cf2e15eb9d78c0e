"""Model files and checkpoints of runs: what is loaded, what is refused, what a kill leaves."""

import contextlib
import importlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import cmpc_tf2
import cmpc_video_tf2
from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.cli import main
from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.predictor import Predictor
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.recipes.optimizers import ITERATION, BiasDoublingAdam, slot_paths
from cmpc_tf2.systems import SYSTEMS
from cmpc_tf2.training.checkpoints import OptimizerState, load_training, save_training
from killing import killed_at

ROOT = Path(__file__).resolve().parents[1]
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
    """Writes a copy of a model file with another description, or other members."""

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
    """Keras after the package; importing the package loads neither Keras nor a model."""
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


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_every_system_is_what_the_table_says(system):
    assert SYSTEMS[system.name] is system
    assert keras.saving.get_registered_name(system.model_type) == system.registered_name
    assert system.model_type.config_type is system.config_type


def test_one_loader_for_all_models(backbone, backbone_file):
    assert cmpc_video_tf2.load_model is cmpc_tf2.load_model
    loaded = cmpc_video_tf2.load_model(backbone_file)
    for found, expected in zip(loaded.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match="expected one that takes images and expressions, found a DeepLab-ResNet back"):
        Predictor(loaded)


def test_only_what_can_be_loaded_is_saved(backbone, tmp_path):
    for name in ("model.h5", "model.hdf5", "model.weights", "model"):
        with pytest.raises(ValueError, match=f"{name}: expected a name that ends in .keras"):
            backbone.save(tmp_path / name)
        with pytest.raises(InputError, match=f"{name}: expected a name that ends in .keras"):
            save_model(backbone, tmp_path / name)
    assert not list(tmp_path.iterdir())


class Foreign(keras.layers.Layer):
    """Must never be made."""

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
def test_no_other_class_is_made(change, words, repacked, monkeypatch):
    monkeypatch.setitem(keras.saving.get_custom_objects(), "other>Foreign", Foreign)
    with pytest.raises(InputError) as failure:
        load_model(repacked(change), DeepLabResNet)
    assert words in str(failure.value) and "\n" not in str(failure.value)


def test_archives_that_are_not_as_keras_writes_them(backbone_file, repacked, tmp_path):
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


def test_members_that_overlap_are_not_read(backbone_file, tmp_path):
    """More than the file has: every member is the whole of it."""
    content = bytearray(backbone_file.read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(content)):  # Of the directory; both sizes stand there.
        content[entry.start() + 20 : entry.start() + 28] = 2 * (len(content) // 2).to_bytes(4, "little")
    (tmp_path / "overlapping.keras").write_bytes(content)
    with pytest.raises(InputError, match="expected members without compression"):
        load_model(tmp_path / "overlapping.keras")


class Weights(keras.Model):
    """Stands for a model: two weights, which are quick to save."""

    def __init__(self, value: float):
        super().__init__()
        self.kernel = self.add_weight(shape=(2, 3), name="kernel", initializer=keras.initializers.Constant(value))
        self.bias = self.add_weight(shape=(3,), name="bias", initializer=keras.initializers.Constant(value))
        self.built = True

    def get_config(self):
        return {}


@pytest.fixture
def at_step(monkeypatch):
    """Makes a model and an optimizer whose values tell the step; they are loaded as those of a run are."""

    def load(path, *_):
        try:
            model = Weights(0.0)
            with zipfile.ZipFile(path) as archive:
                archive.testzip()
            model.load_weights(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(str(error)) from error
        return model

    monkeypatch.setattr("cmpc_tf2.training.checkpoints.load_model", load)

    def make(step: float):
        model = Weights(step)
        optimizer = keras.optimizers.SGD(momentum=0.5)
        optimizer.build(model.trainable_variables)
        for variable in optimizer.variables:
            variable.assign(keras.ops.full(variable.shape, step, variable.dtype))
        return model, optimizer

    return make


def found_in(folder: Path) -> tuple[int, float]:
    """The step of the newest checkpoint, and the value that all its weights and its optimizer's state have."""
    step, model, state = load_training(folder)
    values = [*model.get_weights(), *(value for path, value in state.values.items() if "learning_rate" not in path)]
    (value,) = {float(one) for array in values for one in np.ravel(array)}
    return step, value


@pytest.mark.parametrize("older, step", [([], 0), ([0], 0), ([10, 20], 30), ([10, 20], 20)])
def test_a_kill_while_a_checkpoint_is_written_loses_none(older, step, at_step, tmp_path):
    """At every file operation of saving, and of loading after it: the newest before or the new one is there, whole.

    The new one may have the step of one that is there: of a run that was started again, or went back to an older one.
    """
    new, number, is_killed = 7, 0, True
    while is_killed:
        folder = tmp_path / str(number)
        for one in older:
            save_training(folder, one, *at_step(one))
        model, optimizer = at_step(new)
        with killed_at(tmp_path, number) as switch:
            save_training(folder, step, model, optimizer)
            switch.at = None
        is_killed = switch.at is not None
        for at in range(3):
            with killed_at(tmp_path, at), contextlib.suppress(InputError):
                load_training(folder)
        if older:
            assert found_in(folder) in {(older[-1], older[-1]), (step, new)}, number
        save_training(folder, step, model, optimizer)
        assert found_in(folder) == (step, new)
        kept = sorted(path.name for path in folder.iterdir())
        assert kept == [f"step-{one:09d}" for one in sorted({*older, step})[-2:]]
        number += 1
    assert number > 5


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_killed_run_ends_with_the_same_weights(share, squares, small_model_file, tmp_path):
    """Killed at a file operation of its start or later, and again early in what goes on with it."""
    start = ["train", "-d", "unc", "-t", "train", "--batch-root", str(squares), "--model", str(small_model_file)]
    start += ["-bs", "2", "--steps", "4", "--checkpoint-every", "2", "--output-dir"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with killed_at(whole, None) as switch:
        assert main([*start, str(whole)]) == 0
    for at in (int(share * switch.count), 2, None):
        is_started = (killed / "config.json").exists()
        command = ["train", "--resume", "--output-dir", str(killed)] if is_started else [*start, str(killed)]
        with killed_at(killed, at):
            assert main(command) == 0
    expected, found = (load_model(folder / "last.keras").get_weights() for folder in (whole, killed))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_slots_are_named_as_keras_names_them():
    layer = keras.layers.Dense(2, name="part")
    layer.build((None, 3))
    optimizer = BiasDoublingAdam()
    optimizer.build(layer.trainable_variables)
    expected = {ITERATION, "adam/learning_rate", *(path for v in layer.variables for path in slot_paths(v.path))}
    assert {variable.path for variable in optimizer.variables} == expected


def test_a_state_of_other_types_is_refused(tmp_path):
    optimizer = keras.optimizers.SGD()
    optimizer.build([])
    state = OptimizerState.of(optimizer)
    state.save(tmp_path / "state.npz")
    OptimizerState.from_file(tmp_path / "state.npz").restore(optimizer)
    text = OptimizerState({path: value.astype(str) for path, value in state.values.items()})
    with pytest.raises(
        InputError, match=r"the state of the optimizer belongs to other weights or settings: .* is \('<U"
    ):
        text.restore(optimizer)
