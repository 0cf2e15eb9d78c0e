"""Distribution of training steps: one device, all devices of this machine, or several machines."""

import json
import os
from collections.abc import Callable

import keras
import tensorflow as tf

from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.files import progress


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of a run; models are built in its scope.

    Args:
        name: `none`; `mirrored` for all GPUs of this machine, or its CPU; `multiworker` for the machines that the
            environment variable `TF_CONFIG` lists, one process on each.

    Raises:
        UsageError: `multiworker`, and `TF_CONFIG` is missing or of another form.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    try:
        cluster = json.loads(os.environ["TF_CONFIG"])
        workers = cluster["cluster"]["worker"]
        if cluster["task"]["type"] != "worker" or not 0 <= int(cluster["task"]["index"]) < len(workers):
            raise ValueError
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(
            "--strategy multiworker: expected the workers' addresses and this one's number in TF_CONFIG, "
            """such as {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, """
            """"task": {"type": "worker", "index": 0}}"""
        ) from error
    return tf.distribute.MultiWorkerMirroredStrategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints and logs."""
    resolver = strategy.cluster_resolver
    return resolver is None or resolver.task_id in (None, 0)


def require_divisible(batch_size: int, parts: int, replicas: int):
    """Checks that a batch can be divided equally among devices and parts.

    Raises:
        InputError: It cannot.
    """
    if batch_size % (parts * replicas):
        raise InputError(
            f"a batch of {batch_size} samples cannot be shared by {replicas} devices in {parts} part(s) each; "
            f"expected a multiple of {parts * replicas}"
        )


def take_steps(
    trainer: keras.Model,
    make_dataset: Callable[[tf.distribute.InputContext | None], tf.data.Dataset],
    first: int,
    count: int,
    on_step: Callable[[int, float], None],
) -> dict[str, float]:
    """Takes steps: with Keras' `fit`, or on several machines, where `fit` fails, by a loop around the same step.

    Keras 3's `fit` cannot read back what the workers of a `MultiWorkerMirroredStrategy` return
    (https://github.com/keras-team/keras/issues/20585).

    Args:
        trainer: A compiled model, built in the scope of a strategy.
        make_dataset: Gives the stream of global batches, or with an input context a device's share of it.
        first: Steps already taken.
        count: Steps to take.
        on_step: Called after each step with its number and the mean loss so far.

    Returns:
        The trainer's metrics over these steps.
    """
    strategy = trainer.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        shown = iter(progress(range(count), count, f"train to step {first + count}"))

        def count_step(batch, logs):
            next(shown)
            on_step(first + batch, logs["loss"])

        history = trainer.fit(
            make_dataset(None),
            epochs=1,
            steps_per_epoch=count,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=count_step)],
        )
        next(shown, None)  # Ends the display.
        return {name: values[-1] for name, values in sorted(history.history.items())}

    batches = iter(strategy.distribute_datasets_from_function(make_dataset))
    trainer.reset_metrics()
    for number in progress(range(first, first + count), count, f"train to step {first + count}"):
        loss = trainer.distributed_step(next(batches))
        on_step(number, float(strategy.experimental_local_results(loss)[0]))
    return {name: float(value) for name, value in sorted(trainer.get_metrics_result().items())}
