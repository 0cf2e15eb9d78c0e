"""One step of training, which Keras' `fit` and the loop over several machines share."""

import functools
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from cmpc_tf2.errors import InputError
from cmpc_tf2.systems import find_system
from cmpc_tf2.training.config import TrainConfig

# Random numbers that a layer may draw in a step, before those of the next step begin.
DRAWS_OF_A_STEP = 2**16


class Trainer(keras.Model):
    """A model that shares all weights with a model, for pictures or clips, and trains them by a recipe.

    That model stays plain, to be saved: the trainer itself knows which weights are trained. The loss of a step depends
    on the batch alone, not on how many devices or parts share it. `evaluate`, and `fit` with `validation_data`, give
    the recipe's metric: the overall IoU of masks.

    Args:
        model: A model. Only the values of its weights change.
        config: The run.

    Attributes:
        base_optimizer: The recipe's optimizer, whether or not its gradients are scaled.

    Call arguments: as the model. A step takes what `training_dataset` yields.
    """

    def __init__(self, model: keras.Model, config: TrainConfig):
        config = config.completed()
        recipe = config.make_recipe()
        form = recipe.training_form(model)
        super().__init__(form.input, form.output, name="trainer")
        self.recipe = recipe
        trained = self.recipe.trained_variables(model, config.finetune_backbone)
        # Paths: Keras would count variables in an attribute as the trainer's own.
        self._trained = frozenset(variable.path for variable in trained)
        self.parts = config.accumulate
        self._seed = config.seed
        self.means = {name: keras.metrics.Mean(name=name) for name in ("loss", *self.recipe.logged)}
        self.metric = self.recipe.make_metric()
        self._save_model = model.save
        self.base_optimizer = optimizer = self.recipe.make_optimizer(config)
        if config.precision == "float16":
            scale = self.recipe.initial_loss_scale
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale, name="loss_scale")
        self.compile(optimizer=optimizer, jit_compile=config.jit_compile)
        optimizer.build(self.trainable_variables)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables that the recipe trains."""
        return [variable for variable in super().trainable_variables if variable.path in self._trained]

    def train_step(self, data):
        """Takes one step.

        Args:
            data: This device's share of a batch.

        Returns:
            The means since the last `reset_metrics`.
        """
        data = keras.utils.unpack_x_y_sample_weight(data)[:2]
        replica = tf.distribute.get_replica_context()
        self._seed_random_layers(replica)
        normalizer = tf.convert_to_tensor(self.recipe.normalizer(data[1]))
        normalizer = replica.all_reduce(tf.distribute.ReduceOp.MEAN, normalizer)
        compute = self.gradients if self.parts == 1 else self.accumulate
        gradients, loss = compute(data, normalizer)
        loss = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _agree_on_overflow(gradients, replica)
        self.optimizer.apply(gradients)
        self.means["loss"].update_state(loss)
        return self.get_metrics_result()

    def test_step(self, data) -> dict:
        """Scores a batch.

        Returns:
            The metric since the last `reset_metrics`. There is no loss: that of some recipes needs masked inputs.
        """
        inputs, target = keras.utils.unpack_x_y_sample_weight(data)[:2]
        self.metric.update_state(target, self.recipe.scored(self._forward(inputs, training=False)))
        return {self.metric.name: self.metric.result()}

    def save(self, filepath, *args, **kwargs):
        """Saves the model that is trained, as its own `save` does. The state of the optimizer is not saved."""
        self._save_model(filepath, *args, **kwargs)

    def _seed_random_layers(self, replica):
        """Makes the draws of a step follow from the run's seed, the step and the device, so that a run can resume."""
        step = tf.cast(self.base_optimizer.iterations, tf.int64) * replica.num_replicas_in_sync
        first_draw = (step + tf.cast(replica.replica_id_in_sync_group, tf.int64)) * DRAWS_OF_A_STEP
        states = [variable for variable in self.variables if variable.path.endswith("seed_generator_state")]
        for number, state in enumerate(states):
            state.assign(tf.stack([tf.constant(self._seed + number, tf.int64), first_draw]))

    @functools.cached_property
    def distributed_step(self):
        """Takes a step on all devices, given a global batch; returns the mean loss so far."""

        @tf.function(autograph=False)
        def step(data):
            return self.distribute_strategy.run(self.train_step, args=(data,))["loss"]

        return step

    def gradients(self, data, normalizer) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients and loss of a share of a batch; the sum over all devices is that of the batch.

        Args:
            data: Inputs and targets.
            normalizer: That of the recipe for the whole batch.
        """
        inputs, target = data
        passes = self.recipe.losses(self._forward, inputs, target, normalizer)
        penalty = functools.partial(self.recipe.penalty, self.trainable_variables)
        gradients, loss, scored = self._gradients_of_pass(passes, penalty)
        for _ in range(1, self.recipe.passes):
            # Without this, the next pass may begin while the activations of this one are kept. (One dependency stands
            # for all gradients: thousands of operations would get an edge for each of hundreds.)
            with tf.control_dependencies([tf.group(*gradients)]):
                more, more_loss, _ = self._gradients_of_pass(passes)
            gradients = [first + second for first, second in zip(gradients, more, strict=True)]
            loss += more_loss
        self.metric.update_state(target, scored)
        return gradients, loss

    def _gradients_of_pass(self, passes: Iterator, penalty: Callable = float) -> tuple:
        """Gradients, loss and scored output of the next pass, with the penalty of the weights."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            loss, parts, scored = next(passes)
            loss += penalty() / replicas
            scaled = self.optimizer.scale_loss(loss)
        for name, value in parts.items():
            self.means[name].update_state(value * replicas)
        gradients = tape.gradient(scaled, self.trainable_variables)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], loss, scored

    def _forward(self, inputs: dict, training: bool = True) -> dict:
        return self({name: inputs[name] for name in self.input}, training=training)

    def accumulate(self, data, normalizer) -> tuple[list[tf.Tensor], tf.Tensor]:
        """As `gradients`, computed in parts one after another."""
        parts = tf.nest.map_structure(lambda x: tf.reshape(x, (self.parts, -1, *x.shape[1:])), data)

        def add(index, sums):
            gradients, loss = self.gradients(tf.nest.map_structure(lambda x: x[index], parts), normalizer)
            shares = [value / self.parts for value in (*gradients, loss)]
            return index + 1, [total + share for total, share in zip(sums, shares, strict=True)]

        zeros = [tf.zeros(variable.shape) for variable in self.trainable_variables] + [tf.zeros(())]
        _, sums = tf.while_loop(lambda index, _: index < self.parts, add, (0, zeros), parallel_iterations=1)
        return sums[:-1], sums[-1]

    def get_metrics_result(self) -> dict:
        """Means of the losses, and the metric on the training inputs, since the last `reset_metrics`.

        The IoU of masks counts logits from 0 on at the model's size, without the protocol of `tasks/masks/protocol.py`.
        """
        result = {name: metric.result() for name, metric in self.means.items()}
        return result | {self.metric.name: self.metric.result()}


def make_trainer(model: keras.Model, **settings) -> Trainer:
    """Prepares a model for `fit` as the original trains it: its losses, optimizer, schedule and trained weights.

    ```python
    trainer = make_trainer(model, learning_rate=1e-4)
    trainer.fit(dataset, epochs=10)  # batches of (inputs, masks)
    model.save("model.keras")
    ```

    Each step is that of `python -m cmpc_tf2 train`. Checkpoints to resume from, logs and the protocol of validation are
    part of that command alone.

    Args:
        model: A model, for pictures or clips. Only the values of its weights change.
        settings: Fields of `TrainConfig` that a step depends on: `recipe`, `learning_rate`, `batch_size` with
            `rate_scaling`, `steps`, `decay_steps`, `finetune_backbone`, `accumulate`, `jit_compile`, `seed`.

    Returns:
        A compiled Keras model that shares all weights with `model`.

    Raises:
        InputError: The model is not one that `train` trains, or a setting has a value that it cannot have.
    """
    system = find_system(keras.saving.get_registered_name(type(model)))
    if system is None or system.medium is None:
        found = getattr(model, "title", type(model).__name__)
        raise InputError(f"model: expected one that takes pictures or clips and expressions, found {found}")
    files = {"dataset": "", "split": ""}  # The batches come from the caller.
    return Trainer(model, system.train_config_type(**files, model_name=system.name, model=model.config, **settings))


def _agree_on_overflow(gradients: list[tf.Tensor], replica) -> list[tf.Tensor]:
    """Makes the gradients of every device not finite if those of one are, so that all skip the step."""
    if replica.num_replicas_in_sync == 1:
        return gradients
    is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    finite_devices = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(is_finite, tf.float32))
    factor = tf.where(finite_devices < replica.num_replicas_in_sync, float("nan"), 1.0)
    return [gradient * factor for gradient in gradients]
