"""Trains a model with Keras `fit`, as the original does, and goes on where a run was stopped.

A run is a folder: `config.json` (what is trained, enough to repeat it), `log.csv` and TensorBoard events,
`checkpoints/` (the last two, each with the optimizer's state), `best.keras` if there is a validation split, and at the
end `last.keras`.
"""

import argparse
import csv
import dataclasses
import json
import logging
import os
import re
import sys
from pathlib import Path

from cmpc_tf2.config import ModelConfig, TrainConfig
from cmpc_tf2.data.batches import check_batches, list_batches
from cmpc_tf2.data.datasets import find_dataset
from cmpc_tf2.data.text import Vocabulary
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.files import write_json

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"


def run(arguments: argparse.Namespace):
    """The `train` command."""
    folder = arguments.output_dir
    config_path = folder / CONFIG_NAME
    if arguments.resume:
        config, vocabulary = read_config(config_path), None
    else:
        if config_path.exists():
            raise InputError(f"{folder}: holds a run already; --resume goes on with it")
        config, vocabulary = _config_of(arguments)
    dataset = find_dataset(config.dataset, config.split)
    paths = list_batches(config.batch_root, dataset.name, config.split)
    check_batches(paths)
    validation_paths = []
    if config.validation_split:
        find_dataset(config.dataset, config.validation_split)
        validation_paths = list_batches(config.batch_root, dataset.name, config.validation_split)

    import keras

    keras.utils.set_random_seed(config.seed)
    model = None
    if not arguments.resume:
        model = start_model(config, vocabulary)
        config = dataclasses.replace(config, model=model.config)
        os.makedirs(folder, exist_ok=True)
    scores = train(config, folder, paths, validation_paths, model)
    loss = f"loss {scores['loss']:.4g}" if scores else "all taken before"
    print(f"{folder / 'last.keras'}: {config.steps} steps, {loss}")


def read_config(path: Path) -> TrainConfig:
    """Reads the `config.json` of a run.

    Raises:
        InputError: It is missing or of another form.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; there is no run to go on with")
    try:
        return TrainConfig(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not the configuration of a run: {error}") from error


def _config_of(arguments: argparse.Namespace) -> tuple[TrainConfig, Vocabulary | None]:
    if not (arguments.dataset and arguments.split):
        raise UsageError("-d and -t are needed to start a run")
    if arguments.model and (arguments.backbone or arguments.embeddings or arguments.vocabulary or arguments.sizes):
        raise UsageError("--model brings backbone, word vectors, vocabulary and sizes; give it alone")
    sizes = {}
    if arguments.sizes:
        try:
            sizes = json.loads(arguments.sizes.read_bytes())
        except ValueError as error:
            raise InputError(f"{arguments.sizes}: not readable JSON: {error}") from error
        if not isinstance(sizes, dict):
            raise InputError(f"{arguments.sizes}: not sizes of a model: expected a JSON object")
    vocabulary = Vocabulary.from_file(arguments.vocabulary) if arguments.vocabulary else None
    if vocabulary:
        sizes["vocabulary_size"] = len(vocabulary)
    try:
        model = ModelConfig(**sizes)
    except TypeError as error:
        raise InputError(f"{arguments.sizes}: not sizes of a model: {error}") from error
    config = TrainConfig(
        dataset=arguments.dataset,
        split=arguments.split,
        batch_root=str(arguments.batch_root),
        model=model,
        start_model=str(arguments.model) if arguments.model else None,
        backbone=str(arguments.backbone) if arguments.backbone else None,
        embeddings=str(arguments.embeddings) if arguments.embeddings else None,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        decay_steps=arguments.decay_steps,
        finetune_backbone=arguments.finetune_backbone,
        validation_split=arguments.validation_split,
        checkpoint_every=arguments.checkpoint_every,
        seed=arguments.seed,
    )
    return config, vocabulary


def start_model(config: TrainConfig, vocabulary: Vocabulary | None):
    """The model before the first step: initialised as the original's, with what the run starts from put in.

    Raises:
        InputError: A start file cannot be used, or is of another size.
    """
    from cmpc_tf2.checkpoints import load_backbone, load_model
    from cmpc_tf2.data.embeddings import load_embeddings
    from cmpc_tf2.models.cmpc import CMPC

    if config.start_model:
        return load_model(config.start_model)
    model = CMPC(config.model, vocabulary=vocabulary.words if vocabulary else None, name="cmpc")
    if config.embeddings:
        shape = (config.model.vocabulary_size, config.model.embedding_dim)
        model.expression_decoder.get_layer("text_encoder").embedding.assign(load_embeddings(config.embeddings, shape))
    if config.backbone:
        backbone = load_backbone(config.backbone)
        if backbone.config != config.model.backbone:
            raise InputError(f"{config.backbone}: its sizes are {backbone.config}, expected {config.model.backbone}")
        model.image_encoder.get_layer("backbone").set_weights(backbone.get_weights())
    return model


def train(config: TrainConfig, folder: Path, paths: list[Path], validation_paths: list[Path], model=None) -> dict:
    """Trains from the run's last checkpoint, or from `model` if there is none yet, to its last step.

    The steps between two checkpoints are one call of `fit`; the stream of batches and the learning rate depend on the
    step alone, so a run that is stopped and resumed takes the same steps as one that is not.

    Args:
        config: The run.
        folder: Its folder.
        paths: Files of the train split.
        validation_paths: Files of the validation split, or none.
        model: The model before the first step; None to resume.

    Returns:
        The last entry of the log; empty if no step was left.

    Raises:
        InputError: There is no checkpoint to resume from, a batch cannot be used, or the loss is not a number.
    """
    import tensorflow as tf

    from cmpc_tf2.checkpoints import load_training, save_model, save_training
    from cmpc_tf2.data.pipeline import training_dataset
    from cmpc_tf2.losses import LOSS_WEIGHTS

    tf.config.experimental.enable_op_determinism()
    checkpoints = folder / "checkpoints"
    step, saved = 0, None
    if model is None:
        step, model, saved = load_training(checkpoints)
    trainer = compile_for_training(model, config)
    if saved is not None:
        saved.restore(trainer.optimizer)
    summaries = tf.summary.create_file_writer(str(folder / "tensorboard"))
    best = _best_so_far(folder)
    entry = {}
    if saved is None:
        # The configuration last: where it is, there is a checkpoint to go on from.
        save_training(checkpoints, 0, model, trainer.optimizer)
        write_json(folder / CONFIG_NAME, config.to_dict())

    while step < config.steps:
        count = min(config.checkpoint_every, config.steps - step)
        dataset = training_dataset(
            paths, config.batch_size, seed=config.seed, start_step=step, image_size=config.model.image_size
        ).map(lambda inputs, mask: (inputs, dict.fromkeys(LOSS_WEIGHTS, mask)))
        try:
            history = trainer.fit(
                dataset,
                initial_epoch=step,
                epochs=step + 1,
                steps_per_epoch=count,
                shuffle=False,
                verbose=1 if sys.stderr.isatty() else 0,
                callbacks=[stop_at_nan(config, paths, step)],
            )
        except tf.errors.InvalidArgumentError as error:
            # Our reader's line stands somewhere in TensorFlow's.
            named = re.search(r"ValueError: (.*\.npz: .*)", str(error))
            raise InputError(named[1] if named else str(error)) from error
        step += count
        entry = {"step": step, "learning_rate": float(trainer.optimizer.learning_rate)}
        entry |= {name: values[-1] for name, values in history.history.items()}
        if validation_paths:
            entry |= validate(model, validation_paths)
            if entry["val_overall_iou"] > best:
                best = entry["val_overall_iou"]
                save_model(model, folder / "best.keras")
        save_training(checkpoints, step, model, trainer.optimizer)
        _log(folder / "log.csv", entry)
        with summaries.as_default(step=step):
            for name, value in entry.items():
                tf.summary.scalar(name, value)
            summaries.flush()
        logger.info("%s", ", ".join(f"{name} {value:.5g}" for name, value in entry.items()))
    save_model(model, folder / "last.keras")
    return entry


def compile_for_training(model, config: TrainConfig):
    """A model that shares all weights with `model` and knows how to train them; `model` stays plain, to be saved."""
    import keras

    from cmpc_tf2.losses import LOSS_WEIGHTS, SummedCrossEntropy, regularize
    from cmpc_tf2.optimization import BiasDoublingAdam, freeze_backbone, polynomial_schedule

    freeze_backbone(model, config.finetune_backbone)
    regularize(model)
    trainer = keras.Model(model.input, model.output, name="trainer")
    trainer.compile(
        optimizer=BiasDoublingAdam(polynomial_schedule(config.learning_rate, config.decay_steps)),
        loss={name: SummedCrossEntropy() for name in LOSS_WEIGHTS},
        loss_weights=LOSS_WEIGHTS,
        jit_compile=False,
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def stop_at_nan(config: TrainConfig, paths: list[Path], first_step: int):
    """A callback that ends the run at the step whose loss is not a number, and names its samples."""
    import keras
    import numpy as np

    from cmpc_tf2.data.pipeline import samples_of_step

    def check(batch, logs):
        if not np.isfinite(logs["loss"]):
            step = first_step + batch
            names = [paths[i].name for i in samples_of_step(len(paths), config.batch_size, config.seed, step)]
            raise InputError(f"step {step}: the loss is {logs['loss']}; its samples: {', '.join(names)}")

    return keras.callbacks.LambdaCallback(on_train_batch_end=check)


def validate(model, paths: list[Path]) -> dict:
    """Scores by the original's protocol, as entries of the log: `val_overall_iou`, `val_mean_iou`, ..."""
    from cmpc_tf2.evaluate import evaluate
    from cmpc_tf2.predictor import TwoStageModel

    scores = evaluate(TwoStageModel(model), paths)["plain"]
    entry = {"val_overall_iou": scores["overall_iou"], "val_mean_iou": scores["mean_iou"]}
    return entry | {f"val_precision_{threshold}": value for threshold, value in scores["precision"].items()}


def _best_so_far(folder: Path) -> float:
    try:
        with (folder / "log.csv").open(newline="") as file:
            return max((float(row.get("val_overall_iou") or -1) for row in csv.DictReader(file)), default=-1.0)
    except FileNotFoundError:
        return -1.0


def _log(path: Path, entry: dict):
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(entry))
        if is_new:
            writer.writeheader()
        writer.writerow(entry)
