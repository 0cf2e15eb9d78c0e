"""One step of training, which Keras' `fit` and the loop over several machines share."""

import functools

import keras
import tensorflow as tf

from cmpc_tf2.config import TrainConfig
from cmpc_tf2.losses import SummedCrossEntropy, is_decayed, resize_target, weight_decay
from cmpc_tf2.optimization import BiasDoublingAdam, polynomial_schedule, trained_variables


class Trainer(keras.Model):
    """A model that shares all weights with a model, for images or video, and knows how to train them.

    That model stays plain, to be saved: the trainer itself knows which weights are trained and which decay. The loss of
    a step is

        sum over outputs of weight * mean over the batch of summed cross-entropy, plus weight decay;

    with the recipe `maskris`, half of that sum, half of the same sum over the outputs for masked inputs, whose targets
    are the probabilities for the clean ones, plus weight decay. It depends on the batch alone, not on how many devices
    or parts share it.

    Source: `train_op` in `CMPC_model.py` of CMPC-Refseg. The masked pass: Lee et al. 2024, arXiv 2411.19067, and
    `training.py` of naver-ai/maskris.

    Args:
        model: A model. But for the values of its weights it stays as it is.
        config: The run.

    Call arguments: as `CMPC`. A step takes what `training_dataset` yields.
    """

    def __init__(self, model: keras.Model, config: TrainConfig):
        super().__init__(model.input, model.output, name="trainer")
        # Paths: Keras would count variables in an attribute as the trainer's own.
        self._trained = frozenset(variable.path for variable in trained_variables(model, config.finetune_backbone))
        self.parts = config.accumulate
        self.is_masked = config.recipe == "maskris"
        self.cross_entropy = SummedCrossEntropy()
        self.loss_weights = dict(model.loss_weights)
        names = ["loss", *(f"{name}_loss" for name in self.loss_weights)]
        if self.is_masked:
            names.append("masked_loss")
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.intersection = keras.metrics.Sum(name="intersection")
        self.union = keras.metrics.Sum(name="union")
        self.adam = optimizer = BiasDoublingAdam(polynomial_schedule(config.initial_rate, config.schedule_steps))
        if config.precision == "float16":
            # Sums over 102,400 pixels have gradients that are large as they are: the scale starts at 1.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0, name="loss_scale")
        self.compile(optimizer=optimizer, jit_compile=config.jit_compile)
        optimizer.build(self.trainable_variables)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """What training changes: the backbone is frozen as the configuration says."""
        return [variable for variable in super().trainable_variables if variable.path in self._trained]

    def decay(self) -> tf.Tensor:
        """Weight decay: the part of the loss that does not depend on the batch."""
        return tf.add_n([weight_decay(kernel) for kernel in self.trainable_variables if is_decayed(kernel.path)])

    def train_step(self, data):
        """Takes one step.

        Args:
            data: This device's share of a batch.

        Returns:
            The means since the last `reset_metrics`.
        """
        data = keras.utils.unpack_x_y_sample_weight(data)[:2]
        if self.parts == 1:
            gradients, loss = self.gradients(data)
        else:
            gradients, loss = self.accumulate(data)
        replica = tf.distribute.get_replica_context()
        loss = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _agree_on_overflow(gradients, replica)
        self.optimizer.apply(gradients)
        self.means["loss"].update_state(loss)
        return self.get_metrics_result()

    @functools.cached_property
    def distributed_step(self):
        """Takes a step on all devices, given a global batch; returns the mean loss so far."""

        @tf.function
        def step(data):
            return self.distribute_strategy.run(self.train_step, args=(data,))["loss"]

        return step

    def gradients(self, data) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients and loss of a share of a batch; the sum over all devices is that of the batch."""
        inputs, target = data
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            logits = self({name: inputs[name] for name in self.input}, training=True)
            targets = {name: resize_target(target, logits[name].shape[1]) for name in self.loss_weights}
            losses = {name: self.cross_entropy(targets[name], logits[name]) for name in self.loss_weights}
            decay = self.decay() / replicas
            loss = self.weigh(losses) + decay
            if self.is_masked:
                masked_logits = self({name: inputs[f"masked_{name}"] for name in self.input}, training=True)
                probabilities = {name: tf.stop_gradient(tf.sigmoid(logits[name])) for name in self.loss_weights}
                masked_loss = self.weigh(
                    {name: self.cross_entropy(probabilities[name], masked_logits[name]) for name in self.loss_weights}
                )
                loss = (self.weigh(losses) + masked_loss) / 2 + decay
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        for name, value in losses.items():
            self.means[f"{name}_loss"].update_state(value * replicas)
        if self.is_masked:
            self.means["masked_loss"].update_state(masked_loss * replicas)
        predicted, actual = logits["mask_logits"] >= 0, target > 0.5
        self.intersection.update_state(tf.cast(predicted & actual, tf.float32))
        self.union.update_state(tf.cast(predicted | actual, tf.float32))
        return [tf.convert_to_tensor(gradient) for gradient in gradients], loss

    def weigh(self, losses: dict) -> tf.Tensor:
        """The sum of the outputs' losses, each as much as it counts."""
        return sum(self.loss_weights[name] * loss for name, loss in losses.items())

    def accumulate(self, data) -> tuple[list[tf.Tensor], tf.Tensor]:
        """As `gradients`, computed in parts one after another."""
        parts = tf.nest.map_structure(lambda x: tf.reshape(x, (self.parts, -1, *x.shape[1:])), data)

        def add(index, sums):
            gradients, loss = self.gradients(tf.nest.map_structure(lambda x: x[index], parts))
            shares = [value / self.parts for value in (*gradients, loss)]
            return index + 1, [total + share for total, share in zip(sums, shares, strict=True)]

        zeros = [tf.zeros(variable.shape) for variable in self.trainable_variables] + [tf.zeros(())]
        _, sums = tf.while_loop(lambda index, _: index < self.parts, add, (0, zeros), parallel_iterations=1)
        return sums[:-1], sums[-1]

    def get_metrics_result(self) -> dict:
        """Means of the losses, and overall IoU on the training inputs, since the last `reset_metrics`."""
        result = {name: metric.result() for name, metric in self.means.items()}
        return result | {"overall_iou": self.intersection.result() / tf.maximum(self.union.result(), 1)}


def _agree_on_overflow(gradients: list[tf.Tensor], replica) -> list[tf.Tensor]:
    """Makes the gradients of every device not finite if those of one are, so that all skip the step."""
    if replica.num_replicas_in_sync == 1:
        return gradients
    is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    finite_devices = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(is_finite, tf.float32))
    factor = tf.where(finite_devices < replica.num_replicas_in_sync, float("nan"), 1.0)
    return [gradient * factor for gradient in gradients]
