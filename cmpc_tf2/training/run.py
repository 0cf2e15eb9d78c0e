"""Training runs: from the first step, or from the last checkpoint.

A run is a folder: `config.json` (what is trained, enough to repeat it), `log.csv` and TensorBoard events,
`checkpoints/` (the last two, each with the optimizer's state), `best.keras` if there is a validation split, and at the
end `last.keras`.
"""

import contextlib
import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import write_json
from cmpc_tf2.medium import PICTURES, Medium
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.precision import computing_in
from cmpc_tf2.processes import locked
from cmpc_tf2.systems import find_system
from cmpc_tf2.text.embeddings import load_embeddings
from cmpc_tf2.training.checkpoints import OptimizerState, find_checkpoints, load_training, save_training
from cmpc_tf2.training.config import CONFIG_NAME, TrainConfig, steps_of
from cmpc_tf2.training.distribution import is_chief, make_strategy, require_divisible, take_steps
from cmpc_tf2.training.run_data import SampleData, check_options, make_data
from cmpc_tf2.training.run_log import RunLog
from cmpc_tf2.training.start_files import language_layers, load_backbone, load_bert, sizes_with_backbone
from cmpc_tf2.training.trainer import Trainer


def train(
    config: TrainConfig,
    folder: Path,
    paths: list[Path],
    validation_paths: list[Path],
    vocabulary: list[str] | None = None,
    resume: bool = False,
    medium: Medium = PICTURES,
) -> dict | None:
    """Trains to the run's last step, from its start or from its last checkpoint.

    The stream of batches follows from the step alone, everything else from the checkpoint, so a run that is stopped
    and resumed takes the same steps as one that is not.

    Args:
        config: The run.
        folder: Its folder; on several machines one that all of them see.
        paths: Files of the train split.
        validation_paths: Files of the validation split, or none.
        vocabulary: The words by token id, if a new model is to hold them.
        resume: Resume from the last checkpoint.
        medium: Medium of the samples.

    Returns:
        The last entry of the log; empty if no step was left; None on machines that do not write.

    Raises:
        InputError: There is no checkpoint to resume from, a file cannot be used, the loss is not a number, or another
            process is training in the folder.
    """
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    # TensorFlow's arithmetic optimizer orders sums by chance whenever a graph is made: a resumed run would differ in
    # the last bits.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    strategy = make_strategy(config.strategy)
    with _only_process(folder) if is_chief(strategy) else contextlib.nullcontext():
        return _train(config, folder, paths, validation_paths, vocabulary, resume, medium, strategy)


def _only_process(folder: Path) -> contextlib.AbstractContextManager[None]:
    path = folder.absolute()
    problem = f"{folder}: another process is training there; wait until it has ended, or give another --output-dir"
    return locked(path.with_name(f".{path.name}.lock"), problem)


def _train(
    config: TrainConfig,
    folder: Path,
    paths: list[Path],
    validation_paths: list[Path],
    vocabulary: list[str] | None,
    resume: bool,
    medium: Medium,
    strategy: tf.distribute.Strategy,
) -> dict | None:
    is_writer, checkpoints = is_chief(strategy), folder / "checkpoints"
    if is_writer and not resume:
        _require_no_checkpoints(checkpoints)
    with computing_in(config.precision), strategy.scope():
        if resume:
            step, model, trainer, config, data = _resume(config, checkpoints, medium, paths)
        else:
            step, model, trainer, config, data = _start(config, vocabulary, medium, paths)
    require_divisible(config.batch_size, config.accumulate, strategy.num_replicas_in_sync)
    writer = _Writer(folder, model, trainer, data, validation_paths) if is_writer else None
    if writer and not resume:
        writer.start(step, config)
    if writer:
        writer.open_log(step)
    entry = {}
    while step < config.steps:
        count = min(config.checkpoint_every, config.steps - step)
        means = _take_steps(trainer, data, step, count)
        step += count
        entry = {"step": step, "learning_rate": float(trainer.optimizer.learning_rate), **means}
        if writer:
            writer.write(step, entry)
    if not writer:
        return None
    save_model(model, folder / "last.keras")
    return entry


class _Writer:
    """Writes the files of a run, on the one machine that does.

    Args:
        folder: The run's folder.
        model: The model that is trained.
        trainer: Its trainer.
        data: What the run reads.
        validation_paths: Files of the validation split, or none.
    """

    def __init__(
        self, folder: Path, model: ReferringModel, trainer: Trainer, data: SampleData, validation_paths: list[Path]
    ):
        self._folder, self._model, self._trainer = folder, model, trainer
        self._data, self._validation_paths = data, validation_paths
        self._log: RunLog | None = None

    def start(self, step: int, config: TrainConfig):
        """Writes the first checkpoint and `config.json`."""
        os.makedirs(self._folder, exist_ok=True)
        self._save(step)
        # Written last: if it exists, there is a checkpoint to resume from.
        write_json(self._folder / CONFIG_NAME, config.to_dict())

    def open_log(self, step: int):
        """Continues the log after a step."""
        self._log = RunLog(self._folder, step)

    def write(self, step: int, entry: dict):
        """Adds the scores of the validation split to an entry of the log, and writes it and a checkpoint."""
        pictures = []
        try:
            if self._validation_paths:
                scores, pictures = self._data.validate(self._validation_paths)
                entry |= scores
                if self._log.is_best(scores):
                    save_model(self._model, self._folder / "best.keras")
            self._log.write(entry, pictures)
        finally:  # The steps are saved even if validation fails.
            self._save(step)

    def _save(self, step: int):
        save_training(self._folder / "checkpoints", step, self._model, self._trainer.optimizer)


def _require_no_checkpoints(checkpoints: Path):
    if any(step > 0 for step in find_checkpoints(checkpoints)):
        raise InputError(f"{checkpoints}: holds checkpoints of another run; give a new folder (--output-dir)")


def _resume(
    config: TrainConfig, checkpoints: Path, medium: Medium, paths: list[Path]
) -> tuple[int, ReferringModel, Trainer, TrainConfig, SampleData]:
    """The state of a run at its last checkpoint, its completed configuration, and what it reads."""
    step, model, state = load_training(checkpoints, *medium.model_types.values())
    if type(model) is not medium.model_types.get(config.model_name, type(model)) or model.config != config.model:
        raise InputError(
            f"{checkpoints}: holds {model.title} with {model.config}, but {checkpoints.parent / CONFIG_NAME} says "
            f"{config.model_name} with {config.model}; put back the file that the run was started with"
        )
    config = config.completed()
    trainer = Trainer(model, config)
    state.restore(trainer.optimizer)
    return step, model, trainer, config, make_data(config, model, paths, medium.of_system(config.system))


def _start(
    config: TrainConfig, vocabulary: list[str] | None, medium: Medium, paths: list[Path]
) -> tuple[int, ReferringModel, Trainer, TrainConfig, SampleData]:
    """The state of a run before its first step, its completed configuration with the model that it starts from, and
    what it reads."""
    state = OptimizerState.from_file(config.start_optimizer) if config.start_optimizer else None
    step, model = 0, start_model(config, vocabulary, medium)
    system = find_system(keras.saving.get_registered_name(type(model)))
    config = dataclasses.replace(config, model=model.config, model_name=system.name).completed()
    data = make_data(config, model, paths, medium.of_system(system))
    if config.epochs:
        config = dataclasses.replace(config, steps=steps_of(config.epochs, data.epoch_size, config.batch_size))
    trainer = Trainer(model, config)
    if state is not None:
        with named(config.start_optimizer, "; give the file that was converted beside the model"):
            state.restore(trainer.base_optimizer)
        step = int(trainer.base_optimizer.iterations)
    return step, model, trainer, config, data


def start_model(config: TrainConfig, vocabulary: list[str] | None, medium: Medium = PICTURES) -> ReferringModel:
    """The model before the first step: initialised as in the original, then loaded from the run's start files.

    Raises:
        InputError: A start file cannot be used, or is of another size.
        FieldError: As `check_options`.
    """
    system = config.system
    if config.start_model:
        expected = [system.model_type] if config.model_name else medium.model_types.values()
        return load_model(config.start_model, *expected)
    check_options(config)
    model = system.model_type(sizes_with_backbone(config), vocabulary=vocabulary, name=system.name)
    if config.embeddings:
        layers = language_layers(model)
        if "text_encoder" not in layers:
            raise InputError(
                f"--embeddings: {model.title} takes none: it has no layer `text_encoder` to put them in; leave it out"
            )
        shape = (config.model.vocabulary_size, config.model.embedding_dim)
        layers["text_encoder"].embedding.assign(load_embeddings(config.embeddings, shape))
    if config.backbone:
        load_backbone(model, config.backbone)
    if config.bert:
        load_bert(model, config.bert)
    return model


def _take_steps(trainer: Trainer, data: SampleData, first: int, count: int) -> dict[str, float]:
    """Takes steps; errors of TensorFlow become one line, which names the files."""
    problems: list[InputError] = []

    def dataset_of(context):
        return data.dataset(first, context, problems.append)

    def check_loss(number: int, loss: float):
        if not np.isfinite(loss):
            raise InputError(f"step {number}: the loss is {loss}; its samples: {', '.join(data.names_of_step(number))}")

    try:
        return take_steps(trainer, dataset_of, first, count, check_loss)
    except tf.errors.ResourceExhaustedError as error:
        raise InputError("out of memory; a smaller batch, or --accumulate, needs less") from error
    except tf.errors.OpError as error:
        if problems:
            raise problems[0] from None
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise InputError(f"TensorFlow: {type(error).__name__}: {reason}") from error
