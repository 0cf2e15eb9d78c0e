"""Checkpoints of training runs: which ones are loaded, which are refused, and which remain after a kill."""

import contextlib
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.recipes.optimizers import ITERATION, BiasDoublingAdam, slot_paths
from cmpc_tf2.training.checkpoints import OptimizerState, find_checkpoints, load_training, save_training
from killing import killed_at


class Weights(keras.Model):
    """A stand-in for a model with two weights, which are quick to save."""

    def __init__(self, value: float):
        super().__init__()
        self.kernel = self.add_weight(shape=(2, 3), name="kernel", initializer=keras.initializers.Constant(value))
        self.bias = self.add_weight(shape=(3,), name="bias", initializer=keras.initializers.Constant(value))
        self.built = True

    def get_config(self):
        return {}


@pytest.fixture
def at_step(monkeypatch):
    """Makes a model and an optimizer whose values equal the step; they are loaded as those of a run."""

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
def test_a_kill_while_saving_loses_no_checkpoint(older, step, at_step, tmp_path):
    """Killed at every file operation of saving and of loading: the previous or the new checkpoint can be loaded.

    The new one may have the step of an existing one, after a run was started again or resumed from an older one.
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


def test_other_files_among_the_checkpoints_are_ignored(tmp_path):
    """They are not loaded, not counted among the last two checkpoints, and not removed."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    others = [tmp_path / name for name in ("step-abc", "step-", "step-00000000x", "step-000000009")]
    for folder in others[:-1]:
        folder.mkdir()
    others[-1].write_text("a file")
    for step in (1, 2, 999_999_999, 1_000_000_000):
        save_training(tmp_path, step, model, optimizer)
    assert list(find_checkpoints(tmp_path)) == [999_999_999, 1_000_000_000]
    assert all(other.exists() for other in others)
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        load_training(tmp_path / "step-abc", CMPC)


@pytest.mark.parametrize(
    "header",
    [
        "(" * 200,
        "-" * 9000 + "1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,)}",
        "{'descr': '<U3', 'fortran_order': False, 'shape': ()}",
        "{'descr': '|O', 'fortran_order': False, 'shape': ()}",
        "[]",
    ],
)
def test_optimizer_states_with_forged_headers_are_refused(header, tmp_path):
    content = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n" + bytes(12)
    with zipfile.ZipFile(tmp_path / "optimizer.npz", "w") as archive:
        archive.writestr("adam/iteration.npy", content)
    with pytest.raises(InputError, match=r"^\S*optimizer.npz: not the state of an optimizer[^\n]*$"):
        OptimizerState.from_file(tmp_path / "optimizer.npz")
