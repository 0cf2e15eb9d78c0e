"""Takes the training runs of a study of `shapes_study.py` on a GPU, through Keras' JAX backend.

TensorFlow is not needed here. Network, recipe, batch size, schedule and masking are those of the `train` command; the
order of the samples and the initial weights are not. Each run's `last.keras` and `log.csv` are left where
`shapes_study.py` looks for them, which then only scores them.

    python benchmarks/shapes_gpu.py maskris --steps 4000
"""

import argparse
import concurrent.futures
import csv
import dataclasses
import itertools
import os
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import keras
import numpy as np
from shapes_study import (
    STUDIES,
    add_options,
    batch_root,
    build_train_split,
    model_options,
    run_folder,
    sizes_of,
)

from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.model_files import save_model
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.systems import SYSTEMS
from cmpc_tf2.training.config import TrainConfig

LOGGED_STEPS = 500


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    add_options(parser, "shapes_study")
    parser.add_argument("--learning-rate", type=float, help="another than that of the study")
    parser.add_argument("--variants", nargs="+", help="only these")
    arguments = parser.parse_args()
    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}, Keras {keras.__version__}, {time.strftime('%Y-%m-%d')}")
    variants = STUDIES[arguments.study]
    for name in arguments.variants or variants:
        train_variant(name, variants[name], arguments)


def train_variant(name: str, variant: dict, arguments: argparse.Namespace):
    """Trains a variant with every seed; one compilation serves them all."""
    folder, steps = arguments.output, arguments.steps
    system = SYSTEMS[variant.get("model", "cmpc")]
    build_train_split(folder, system.name)
    options = list(map(str, model_options(folder, system.name)))
    values = dict(itertools.pairwise(options))
    words = Path(values["--vocabulary"]).read_text().split()
    sizes = system.config_type(**sizes_of(system.name))
    config = TrainConfig(
        "shapes",
        "train",
        model_name=system.name,
        model=dataclasses.replace(sizes, vocabulary_size=len(words)),
        steps=steps,
        decay_steps=steps,
        batch_size=int(values["-bs"]),
        learning_rate=arguments.learning_rate or float(values["-lr"]),
        finetune_backbone="--finetune-backbone" in options,
        recipe=variant.get("recipe", "original"),
    )
    paths = list_batches(batch_root(folder, system.name), "shapes", "train")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        samples = list(pool.map(read_batch, paths))
    run = None
    for seed in arguments.seeds:
        keras.utils.set_random_seed(seed)
        model = system.model_type(config.model, words, name=system.name)
        run = run or GPURun(model, config)
        start = time.perf_counter()
        rows = run.train(model, samples, seed)
        target = run_folder(folder, steps, seed, **variant)
        target.mkdir(parents=True, exist_ok=True)
        save_model(model, target / "last.keras")
        with open(target / "log.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s, {rows[-1]}", flush=True)


class GPURun:
    """The compiled training step of a recipe.

    Args:
        model: One of the models that it trains; they differ in their values alone.
        config: The run.
    """

    def __init__(self, model: ReferringModel, config: TrainConfig):
        self._config, self._recipe = config, config.make_recipe()
        self._model, self._tokenizer = model, model.make_tokenizer()
        self._augmentation = self._recipe.augmentation(model)
        trained = self._recipe.trained_variables(model, config.finetune_backbone)
        ids = {id(variable) for variable in trained}
        self._is_trained = [id(variable) in ids for variable in model.variables]
        self._trained = trained
        self._others = [variable for variable in model.variables if id(variable) not in ids]
        self._optimizer = self._recipe.make_optimizer(config)
        self._optimizer.build(trained)
        self._first_slots = [variable.value for variable in self._optimizer.variables]
        self._step = jax.jit(self._take_step)

    def train(self, model: ReferringModel, samples: list, seed: int) -> list[dict]:
        """Trains a model; returns the lines of the log."""
        values = [variable.value for variable in model.variables]
        trained = [value for value, is_trained in zip(values, self._is_trained, strict=True) if is_trained]
        others = [value for value, is_trained in zip(values, self._is_trained, strict=True) if not is_trained]
        slots, rows, sums = self._first_slots, [], 0
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            batches = pool.map(lambda step: self._batch(samples, seed, step), range(self._config.steps))
            for step, (inputs, target) in enumerate(batches, 1):
                trained, others, slots, figures = self._step(trained, others, slots, inputs, target)
                sums = sums + figures
                if step % LOGGED_STEPS == 0 or step == self._config.steps:
                    loss, intersection, union = map(float, sums)
                    count = (step - 1) % LOGGED_STEPS + 1
                    rows.append({"step": step, "loss": loss / count, "overall_iou": intersection / union})
                    sums = 0
        for is_trained, variable in zip(self._is_trained, model.variables, strict=True):
            variable.assign((trained if is_trained else others).pop(0))
        return rows

    def _batch(self, samples: list, seed: int, step: int) -> tuple:
        """The inputs and masks of a step."""
        size = self._config.batch_size
        rows = []
        for position in range(step * size, (step + 1) * size):
            epoch, place = divmod(position, len(samples))
            sample = samples[np.random.default_rng([seed, epoch]).permutation(len(samples))[place]]
            preprocessing = self._model.preprocessing
            row = {"image": preprocessing.normalize(sample.fitted(preprocessing))}
            row |= self._tokenizer.encode(sample.expression)
            if self._augmentation is not None:
                row |= self._augmentation(row, np.random.default_rng([seed, position]))
            rows.append((row, sample.mask[..., None].astype(np.float32)))
        inputs = {name: np.stack([row[name] for row, _ in rows]) for name in rows[0][0]}
        return inputs, np.stack([mask for _, mask in rows])

    def _forward(self, inputs: dict) -> dict:
        return self._model({name: inputs[name] for name in self._model.input}, training=True)

    def _take_step(self, trained, others, slots, inputs, target):
        """New values of the trained weights, the others and the optimizer; loss, intersection and union."""

        def loss_of(trained):
            values = [*zip(self._trained, trained, strict=True), *zip(self._others, others, strict=True)]
            with keras.StatelessScope(state_mapping=values) as scope:
                normalizer = self._recipe.normalizer(target)
                loss, _, logits = self._recipe.batch_loss(self._forward, inputs, target, normalizer)
                loss = loss + self._recipe.penalty(self._trained)
            return loss, (logits, [scope.get_current_value(variable) for variable in self._others])

        (loss, (logits, others)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained)
        trained, slots = self._optimizer.stateless_apply(slots, gradients, trained)
        predicted, actual = logits >= 0, target > 0.5
        figures = jax.numpy.array([loss, (predicted & actual).sum(), (predicted | actual).sum()], dtype="float32")
        return trained, others, slots, figures


if __name__ == "__main__":
    main()
