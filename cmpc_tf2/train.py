"""Trains a model with Keras `fit`, as the original does, and goes on where a run was stopped.

A run is a folder: `config.json` (what is trained, enough to repeat it), `log.csv` and TensorBoard events,
`checkpoints/` (the last two, each with the optimizer's state), `best.keras` if there is a validation split, and at the
end `last.keras`.
"""

import argparse
import dataclasses
import logging
import math
import os
import re
from pathlib import Path

from cmpc_tf2.config import ReferringConfig, TrainConfig
from cmpc_tf2.data.batches import check_batches, list_batches
from cmpc_tf2.data.datasets import find_dataset
from cmpc_tf2.data.text import MAX_WORDS, Vocabulary
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.fields import COUNT, FieldError, from_dict
from cmpc_tf2.files import read_json, require_folder, write_json
from cmpc_tf2.run_log import RunLog
from cmpc_tf2.systems import find_system, systems_of
from cmpc_tf2.task import IMAGES, Task

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
# Validation samples that are drawn for TensorBoard.
DRAWN_SAMPLES = 4


def run(arguments: argparse.Namespace):
    """The `train` command."""
    folder = arguments.output_dir
    require_folder(folder)
    config_path = folder / CONFIG_NAME
    given = sorted(set(vars(arguments)) - {"module", "task", "output_dir", "resume"})
    task = arguments.task
    if arguments.resume:
        if given:
            raise UsageError(f"--resume goes on by {config_path}; leave out {', '.join(map(_option, given))}")
        config, vocabulary = read_config(config_path, task), None
    else:
        if config_path.exists():
            raise InputError(f"{folder}: holds a run already; --resume goes on with it")
        config, vocabulary = _config_of(arguments)
    paths = _paths_of(task, config, config.split)
    if "epochs" in given:
        config = dataclasses.replace(config, steps=_steps_of(arguments.epochs, len(paths), config.batch_size))
    validation_paths = _paths_of(task, config, config.validation_split) if config.validation_split else []
    entry = train(config, folder, paths, validation_paths, vocabulary, resume=arguments.resume, task=task)
    if entry is not None:
        loss = f"loss {entry['loss']:.4g}" if entry else "all taken before"
        print(f"{folder / 'last.keras'}: {config.steps} steps, {loss}")


def _paths_of(task: Task, config: TrainConfig, split: str) -> list[Path]:
    dataset = find_dataset(config.dataset, split, task.datasets)
    paths = list_batches(config.batch_root, dataset.name, split, task.sample_type)
    check_batches(paths, task.sample_type)
    return paths


def read_config(path: Path, task: Task = IMAGES) -> TrainConfig:
    """Reads the `config.json` of a run.

    Raises:
        InputError: It is missing or of another form.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; there is no run to go on with")
    try:
        return from_dict(task.train_config, read_json(path))
    except FieldError as error:
        raise InputError(f"{path}: {error}; put back the file that the run was started with") from None


def _config_of(arguments: argparse.Namespace) -> tuple[TrainConfig, Vocabulary | None]:
    task = arguments.task
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    if not {"dataset", "split"} <= set(options):
        raise UsageError("-d and -t are needed to start a run")
    if "start_model" in options and {"backbone", "embeddings", "vocabulary", "sizes"} & set(options):
        raise UsageError("--model brings backbone, word vectors, vocabulary and sizes; give it alone")
    if "start_optimizer" in options and "start_model" not in options:
        raise UsageError("--optimizer goes with the --model that was converted beside it")
    if "start_optimizer" in options and "epochs" in options:
        raise UsageError("--optimizer goes on at its step: say with --steps where to end")
    vocabulary = Vocabulary.from_file(options["vocabulary"]) if "vocabulary" in options else None
    systems = systems_of(task.name)
    system = systems[options.get("model_name", next(iter(systems)))]
    model = read_sizes(system.config_type, options.get("sizes"), vocabulary)
    fields = {field.name for field in dataclasses.fields(task.train_config)}
    options = {name: value for name, value in options.items() if name in fields}
    try:
        return task.train_config(**{**options, "model": model}), vocabulary
    except FieldError as error:
        raise UsageError(f"{_option(error.field)}: {error.reason}") from None


def _option(name: str) -> str:
    """The option that sets a field."""
    return {"start_model": "--model", "start_optimizer": "--optimizer"}.get(name, f"--{name.replace('_', '-')}")


def _steps_of(epochs: float, samples: int, batch_size: int) -> int:
    steps = math.ceil(epochs * samples / batch_size)
    if steps not in COUNT:
        raise UsageError(f"--epochs: {epochs:g} would be {steps} steps; expected at most {COUNT.most}")
    return steps


def read_sizes(kind: type[ReferringConfig], path: str | None, vocabulary: Vocabulary | None) -> ReferringConfig:
    """The sizes of a new model.

    Args:
        kind: Its configuration's class.
        path: A JSON file that says which are not the usual ones; None if all are.
        vocabulary: The words it is to know; None for as many as usual.

    Raises:
        InputError: The file cannot be read, or has other names or values than sizes have.
    """
    sizes = read_json(path) if path else {}
    try:
        model = from_dict(kind, sizes)
        if model.max_words != MAX_WORDS:
            raise FieldError("max_words", f"expected {MAX_WORDS} as in the batches, received {model.max_words}")
        return dataclasses.replace(model, vocabulary_size=len(vocabulary)) if vocabulary else model
    except FieldError as error:
        raise InputError(f"{path or 'sizes of the model'}: {error}") from None


def start_model(config: TrainConfig, vocabulary: Vocabulary | None, task: Task = IMAGES):
    """The model before the first step: initialised as the original's, with what the run starts from put in.

    Raises:
        InputError: A start file cannot be used, or is of another size.
    """
    from cmpc_tf2.checkpoints import load_backbone, load_kind
    from cmpc_tf2.data.embeddings import load_embeddings

    system = config.system
    if config.start_model:
        kinds = [system.model_type] if config.model_name else task.model_types.values()
        return load_kind(config.start_model, *kinds)
    model = system.model_type(config.model, vocabulary=vocabulary.words if vocabulary else None, name=system.name)
    if config.embeddings:
        shape = (config.model.vocabulary_size, config.model.embedding_dim)
        layers = {layer.name: layer for layer in model.expression_decoder.layers}
        if "text_encoder" not in layers:
            raise InputError(f"--embeddings: {model.title} takes none: it has no layer `text_encoder` to put them in")
        layers["text_encoder"].embedding.assign(load_embeddings(config.embeddings, shape))
    if config.backbone:
        backbone = load_backbone(config.backbone)
        if backbone.config != config.model.backbone:
            raise InputError(f"{config.backbone}: its sizes are {backbone.config}, expected {config.model.backbone}")
        model.image_encoder.get_layer("backbone").set_weights(backbone.get_weights())
    return model


def train(
    config: TrainConfig,
    folder: Path,
    paths: list[Path],
    validation_paths: list[Path],
    vocabulary: Vocabulary | None = None,
    resume: bool = False,
    task: Task = IMAGES,
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
        resume: Go on from the last checkpoint.
        task: What the files hold.

    Returns:
        The last entry of the log; empty if no step was left; None on machines that do not write.

    Raises:
        InputError: There is no checkpoint to resume from, a file cannot be used, or the loss is not a number.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from cmpc_tf2.checkpoints import OptimizerState, find_checkpoints, load_training, save_model, save_training
    from cmpc_tf2.data.pipeline import read_train_sample, samples_of_step, training_dataset
    from cmpc_tf2.distribution import is_chief, make_strategy, require_divisible, take_steps
    from cmpc_tf2.precision import computing_in
    from cmpc_tf2.trainer import Trainer

    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    strategy = make_strategy(config.strategy)
    require_divisible(config.batch_size, config.accumulate, strategy.num_replicas_in_sync)
    is_writer = is_chief(strategy)
    checkpoints = folder / "checkpoints"
    if is_writer and not resume and any(step > 0 for step in find_checkpoints(checkpoints)):
        raise InputError(f"{checkpoints}: holds checkpoints of another run; give a new folder (--output-dir)")
    with computing_in(config.precision), strategy.scope():
        if resume:
            step, model, state = load_training(checkpoints, *task.model_types.values())
            if type(model) is not task.model_types.get(config.model_name, type(model)) or model.config != config.model:
                raise InputError(
                    f"{checkpoints}: holds {model.title} with {model.config}, but {folder / CONFIG_NAME} says "
                    f"{config.model_name} with {config.model}; put back the file that the run was started with"
                )
            trainer = Trainer(model, config)
            state.restore(trainer.optimizer)
        else:
            step, model = 0, start_model(config, vocabulary, task)
            system = find_system(keras.saving.get_registered_name(type(model)))
            config = dataclasses.replace(config, model=model.config, model_name=system.name)
            trainer = Trainer(model, config)
            if config.start_optimizer:
                state = OptimizerState.from_file(config.start_optimizer)
                state.restore(trainer.adam)
                step = int(trainer.adam.iterations)
    masked_vocabulary = None
    if config.recipe == "maskris":
        if model.vocabulary is None:
            raise InputError("--recipe maskris masks words: give the vocabulary (--vocabulary FILE)")
        masked_vocabulary = Vocabulary(model.vocabulary)
    read_train_sample(paths[0], config.model.image_size, config.model.vocabulary_size, task.sample_type)
    if is_writer and not resume:
        # The configuration last: where it is, there is a checkpoint to go on from.
        os.makedirs(folder, exist_ok=True)
        save_training(checkpoints, step, model, trainer.optimizer)
        write_json(folder / CONFIG_NAME, config.to_dict())
    log = RunLog(folder, step) if is_writer else None

    def dataset_from(first: int):
        return lambda context: training_dataset(
            paths,
            config.batch_size,
            seed=config.seed,
            start_step=first,
            input_context=context,
            image_size=config.model.image_size,
            vocabulary_size=config.model.vocabulary_size,
            masked_vocabulary=masked_vocabulary,
            kind=task.sample_type,
        )

    def check(number: int, loss: float):
        if not np.isfinite(loss):
            names = [paths[i].name for i in samples_of_step(len(paths), config.batch_size, config.seed, number)]
            raise InputError(f"step {number}: the loss is {loss}; its samples: {', '.join(names)}")

    entry = {}
    while step < config.steps:
        count = min(config.checkpoint_every, config.steps - step)
        try:
            means = take_steps(trainer, dataset_from(step), step, count, check)
        except tf.errors.OpError as error:
            raise InputError(_reason_of(error)) from error
        step += count
        entry = {"step": step, "learning_rate": float(trainer.optimizer.learning_rate), **means}
        if not is_writer:
            continue
        pictures = []
        try:
            if validation_paths:
                scores, pictures = validate(model, validation_paths, task)
                entry |= scores
                if log.is_best(scores):
                    save_model(model, folder / "best.keras")
            log.write(entry, pictures)
        finally:  # Whatever becomes of the scores, the steps are not lost.
            save_training(checkpoints, step, model, trainer.optimizer)
    if not is_writer:
        return None
    save_model(model, folder / "last.keras")
    return entry


def _reason_of(error) -> str:
    """A TensorFlow error in one line; ours, from reading a batch, stands somewhere in it."""
    import tensorflow as tf

    named = re.search(r"ValueError: (.*\.npz: .*)", str(error))
    if named:
        return named[1]
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return "out of memory; a smaller batch, or --accumulate, needs less"
    return f"TensorFlow: {type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"


def validate(model, paths: list[Path], task: Task) -> tuple[dict, list]:
    """Scores by the original's protocol, as entries of the log: `val_overall_iou`, `val_mean_iou`, ...

    Returns:
        The scores, and the first few samples as pictures with the masks drawn in.
    """
    from cmpc_tf2.evaluate import evaluate
    from cmpc_tf2.overlays import draw_masks
    from cmpc_tf2.predictor import TwoStageModel

    pictures = []

    def draw(_, sample, prediction, iou):
        if len(pictures) < DRAWN_SAMPLES:
            caption = f"{sample.expression} (IoU {iou:.3f})"
            pictures.append(draw_masks(sample.image, [prediction], [caption], sample.mask))

    result = evaluate(TwoStageModel(model), paths, on_prediction=draw, task=task)
    if not result["samples"]:
        raise InputError(f"{paths[0].parent}: every sample was skipped: {result['skipped'][0]['reason']}")
    scores = result["plain"]
    entry = {"val_overall_iou": scores["overall_iou"], "val_mean_iou": scores["mean_iou"]}
    if "average_precision" in scores:
        entry["val_average_precision"] = scores["average_precision"]
    entry |= {f"val_precision_{threshold}": value for threshold, value in scores["precision"].items()}
    return entry, pictures
