"""Takes the training runs of a study of `shapes_study.py` on a GPU, through Keras' JAX backend.

TensorFlow is not needed here. Network, recipe, batch size, schedule and masking are those of the `train` command; the
order of the samples and the initial weights are not. Each run's `last.keras` and `log.csv` are left where
`shapes_study.py` looks for them, which then only scores them.

    python benchmarks/shapes_gpu.py maskris --steps 4000
"""

import argparse
import collections
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
PREFETCHED_STEPS = 16


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
    run = None
    for seed in arguments.seeds:
        keras.utils.set_random_seed(seed)
        model = system.model_type(config.model, words, name=system.name)
        run = run or GPURun(model, config, paths)
        start = time.perf_counter()
        rows = run.train(model, seed)
        target = run_folder(folder, steps, seed, **variant)
        target.mkdir(parents=True, exist_ok=True)
        save_model(model, target / "last.keras")
        with open(target / "log.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s, {rows[-1]}", flush=True)


class GPURun:
    """The compiled training step of a recipe, and the train split, which stays on the device.

    Args:
        model: One of the models that it trains; they differ in their values alone.
        config: The run.
        paths: Files of the train split.
    """

    def __init__(self, model: ReferringModel, config: TrainConfig, paths: list[Path]):
        self._config, self._recipe, self._model = config, config.make_recipe(), model
        self._augmentation = self._recipe.augmentation(model)
        self._trained = self._recipe.trained_variables(model, config.finetune_backbone)
        ids = {id(variable) for variable in self._trained}
        self._is_trained = [id(variable) in ids for variable in model.variables]
        self._others = [variable for variable in model.variables if id(variable) not in ids]
        self._optimizer = self._recipe.make_optimizer(config)
        self._optimizer.build(self._trained)
        self._first_slots = [variable.value for variable in self._optimizer.variables]
        self._arrays = read_arrays(paths, model)
        self._split = {name: jax.device_put(value) for name, value in self._arrays.items()}
        self._step = jax.jit(self._take_step)

    def train(self, model: ReferringModel, seed: int) -> list[dict]:
        """Trains a model; returns the lines of the log."""
        values = list(zip((variable.value for variable in model.variables), self._is_trained, strict=True))
        trained = [value for value, is_trained in values if is_trained]
        others = [value for value, is_trained in values if not is_trained]
        slots, rows, sums = self._first_slots, [], 0
        for step, (indices, added) in enumerate(self._batches(seed), 1):
            trained, others, slots, figures = self._step(trained, others, slots, self._split, indices, added)
            sums = sums + figures
            if step % LOGGED_STEPS == 0 or step == self._config.steps:
                loss, intersection, union = map(float, sums)
                count = (step - 1) % LOGGED_STEPS + 1
                rows.append({"step": step, "loss": loss / count, "overall_iou": intersection / union})
                print(f"{time.strftime('%H:%M:%S')} {rows[-1]}", flush=True)
                sums = 0
        for is_trained, variable in zip(self._is_trained, model.variables, strict=True):
            variable.assign((trained if is_trained else others).pop(0))
        return rows

    def _batches(self, seed: int):
        """The indices of the samples of each step, and what the augmentation adds; some steps ahead."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            waiting = collections.deque()
            for step, indices in enumerate(self._order(seed)):
                waiting.append(pool.submit(self._augmented, indices, seed, step))
                if len(waiting) > PREFETCHED_STEPS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _order(self, seed: int) -> np.ndarray:
        """Indices of samples, int32 `(steps, B)`: one permutation after another."""
        shape = self._config.steps, self._config.batch_size
        rng, count = np.random.default_rng(seed), len(self._arrays["mask"])
        epochs = [rng.permutation(count) for _ in range(-(-shape[0] * shape[1] // count))]
        return np.concatenate(epochs)[: shape[0] * shape[1]].reshape(shape).astype(np.int32)

    def _augmented(self, indices: np.ndarray, seed: int, step: int) -> tuple[np.ndarray, dict]:
        if self._augmentation is None:
            return indices, {}
        rows = []
        for place, index in enumerate(indices):
            row = {name: value[index] for name, value in self._arrays.items() if name != "mask"}
            rows.append(self._augmentation(row, np.random.default_rng([seed, step, place])))
        return indices, {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _forward(self, inputs: dict) -> dict:
        return self._model({name: inputs[name] for name in self._model.input}, training=True)

    def _take_step(self, trained, others, slots, split, indices, added):
        """New values of the trained weights, the others and the optimizer; loss, intersection and union."""
        inputs = {name: value[indices] for name, value in split.items()}
        target = inputs.pop("mask")
        inputs |= added

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


def read_arrays(paths: list[Path], model: ReferringModel) -> dict[str, np.ndarray]:
    """The inputs of a split and its masks, each with one row per sample."""
    tokenizer, preprocessing = model.make_tokenizer(), model.preprocessing
    with concurrent.futures.ThreadPoolExecutor() as pool:
        samples = list(pool.map(read_batch, paths))
    text = [tokenizer.encode(sample.expression) for sample in samples]
    pixels = np.stack([sample.fitted(preprocessing) for sample in samples])
    arrays = {"image": preprocessing.normalize(pixels)}
    arrays |= {name: np.stack([row[name] for row in text]) for name in text[0]}
    return arrays | {"mask": np.stack([sample.mask[..., None] for sample in samples]).astype(np.float32)}


if __name__ == "__main__":
    main()
