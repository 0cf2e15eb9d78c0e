"""The step and the state of Adam in TensorFlow 1 checkpoints."""

import re

import numpy as np
import pytest

from cmpc_tf2.conversion.tf1 import convert
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.training.checkpoints import OptimizerState
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer
from convert_tf1_ckpt import main


def test_step_is_reported(small_values, write, tmp_path):
    prefix = write({**small_values, "text_objseg/Variable_1": np.float32(700000)})
    assert convert(prefix, str(tmp_path / "m.keras"))["step"] == 700000


@pytest.mark.parametrize("step", [np.zeros(3, "float32"), np.float32("nan"), np.float32(0.5)])
def test_a_step_that_is_not_a_whole_number_is_refused(assert_refused, step, small_values, write):
    prefix = write({**small_values, "text_objseg/Variable_1": step})
    assert_refused(prefix, "text_objseg/Variable_1: expected a whole number")


@pytest.fixture(scope="module")
def training_values(small_values):
    """Variables of a small training checkpoint before its first step."""
    trained = {name: value for name, value in small_values.items() if name.startswith("text_objseg/")}
    slots = {f"text_objseg/{name}/{slot}": 0 * value for name, value in trained.items() for slot in ("Adam", "Adam_1")}
    state = {"Variable_1": 0, "beta1_power": 0.9, "beta2_power": 0.999}
    return {**small_values, **slots, **{f"text_objseg/{name}": np.float32(value) for name, value in state.items()}}


def test_the_adam_state_of_a_finetuned_backbone(training_values, write, tmp_path, capsys):
    """The original's `-conv5` has slots for the kernels of res3 to res5, and for nothing else of the backbone."""
    kernels = [name for name in training_values if re.fullmatch(r"res[345].*/weights", name)]
    slots = {f"text_objseg/{name}/Adam": training_values[name] for name in kernels}
    slots |= {f"text_objseg/{name}/Adam_1": 2 * training_values[name] for name in kernels}
    model, state = tmp_path / "out.keras", tmp_path / "out.npz"
    command = ["--checkpoint", write({**training_values, **slots}), "--output", str(model), "--optimizer", str(state)]
    assert main(command) == 0
    trainer = Trainer(load_model(model), TrainConfig("unc", "train", finetune_backbone=True))
    OptimizerState.from_file(state).restore(trainer.base_optimizer)
    index = {variable.path: number for number, variable in enumerate(trainer.trainable_variables)}
    for name in kernels:
        number = index[name.replace("weights", "kernel")]
        np.testing.assert_array_equal(trainer.base_optimizer._momentums[number], training_values[name])
        np.testing.assert_array_equal(trainer.base_optimizer._velocities[number], 2 * training_values[name])
    trainer = Trainer(load_model(model), TrainConfig("unc", "train"))
    with pytest.raises(InputError, match="is --finetune-backbone as it was"):
        OptimizerState.from_file(state).restore(trainer.base_optimizer)


def test_an_incomplete_adam_state_is_refused(training_values, small_values, write, tmp_path, capsys):
    output = ["--output", str(tmp_path / "out.keras"), "--optimizer", str(tmp_path / "out.npz")]
    slot = "text_objseg/text_objseg/score/DW/Adam_1"
    for values, words in (
        (small_values, "not a training checkpoint: it holds no slots of Adam"),
        ({name: value for name, value in training_values.items() if name != slot}, f"{slot} is missing"),
        (
            training_values | {"text_objseg/Variable_1": np.float32(9)},
            "beta1_power is 0.9, which does not belong to step 9",
        ),
        (
            training_values | {slot: training_values[slot] + np.nan},
            "a slot of text_objseg/score/DW holds values that are not",
        ),
        (training_values | {slot: np.zeros((2, 2), "float32")}, f"{slot} is [2, 2], which does not fit its weight"),
    ):
        assert main(["--checkpoint", write(values), *output]) == 1
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out.keras").exists() and not (tmp_path / "out.npz").exists()
