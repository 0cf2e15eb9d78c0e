"""The model on a GPU through Keras' JAX backend: forward and training step by batch size and precision.

`models/` and `layers/` use Keras alone, so TensorFlow is not needed here: Keras, JAX and NumPy are. Prints milliseconds
a step, samples a second and the device's peak memory; each row runs in a process of its own. Where the driver lets only
one process have most of the memory, set XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import keras
import numpy as np
from measuring import add_json_option, run_alone, write_json

from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.precision import computing_in
from cmpc_tf2.recipes import cmpc
from cmpc_tf2.recipes.losses import SummedCrossEntropy, is_decayed, weight_decay
from cmpc_tf2.recipes.optimizers import BiasDoublingAdam, polynomial_schedule


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--sizes", type=Path, metavar="FILE.json", help="sizes of the model, if not the usual")
    parser.add_argument("--repeats", type=int, default=10)
    add_json_option(parser)
    parser.add_argument("--alone", choices=("forward", "training step"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure_row(arguments)))
        return
    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}, Keras {keras.__version__}, {time.strftime('%Y-%m-%d')}")
    print(f"{'':24}{'batch':>6}{'ms':>10}{'samples/s':>11}{'peak GB':>9}")
    results = []
    for precision in arguments.precisions:
        for size in arguments.batch_sizes:
            for name in ("forward", "training step"):
                options = ["--precisions", precision, "--batch-sizes", size, "--repeats", arguments.repeats]
                options += ["--sizes", arguments.sizes] if arguments.sizes else []
                row = run_alone(__file__, name, *options)
                results.append(row)
                print(
                    f"{precision + ' ' + name:24}{size:6}{1000 * row['s']:10.1f}{size / row['s']:11.1f}"
                    f"{row['peak_gb']:9.1f}",
                    flush=True,
                )
    write_json(arguments, results)


def measure_row(arguments: argparse.Namespace) -> dict:
    """Figures of one row."""
    (precision,), (size,) = arguments.precisions, arguments.batch_sizes
    sizes = json.loads(arguments.sizes.read_bytes()) if arguments.sizes else {}
    with computing_in(precision):
        model = CMPC(CMPCConfig(**sizes), name="cmpc")
    model.image_encoder.get_layer("backbone").trainable = False
    make = make_forward if arguments.alone == "forward" else make_training_step
    seconds = measure(make(model, size), arguments.repeats)
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e9
    return {"what": arguments.alone, "precision": precision, "batch": size, "s": seconds, "peak_gb": peak}


def inputs_of(model: CMPC, size: int) -> dict:
    """Random pictures and expressions."""
    rng = np.random.default_rng(0)
    config = model.config
    token_ids = np.zeros((size, config.max_words), np.int32)
    token_ids[:, -8:] = rng.integers(4, config.vocabulary_size, size=(size, 8))
    image = rng.normal(0, 60, (size, config.image_size, config.image_size, 3)).astype(np.float32)
    return {"image": jax.device_put(image), "token_ids": jax.device_put(token_ids)}


def make_forward(model: CMPC, size: int):
    """A function that computes the masks of a batch."""
    inputs = inputs_of(model, size)
    state = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    compute = jax.jit(lambda state, inputs: model.stateless_call(*state, inputs, training=False)[0]["mask_logits"])
    return lambda: compute(state, inputs)


def make_training_step(model: CMPC, size: int):
    """A function that takes a training step, as `cmpc_tf2.training.trainer` does; the model itself stays as it is."""
    inputs = inputs_of(model, size)
    side = model.config.image_size
    target = jax.device_put((np.random.default_rng(1).random((size, side, side, 1)) < 0.2).astype(np.float32))
    optimizer = BiasDoublingAdam(polynomial_schedule(0.00025, 800_000))
    optimizer.build(model.trainable_variables)
    entropy = SummedCrossEntropy()
    frozen = [v.value for v in model.non_trainable_variables]
    decayed = [is_decayed(v.path) for v in model.trainable_variables]

    def loss(trained, inputs, target):
        logits, _ = model.stateless_call(trained, frozen, inputs, training=True)
        data = sum(weight * entropy(target, logits[name]) for name, weight in cmpc.CMPC.loss_weights.items())
        return data + sum(weight_decay(weight) for weight, decays in zip(trained, decayed, strict=True) if decays)

    @jax.jit
    def step(trained, slots, inputs, target):
        value, gradients = jax.value_and_grad(loss)(trained, inputs, target)
        return value, *optimizer.stateless_apply(slots, gradients, trained)

    state = [[v.value for v in model.trainable_variables], [v.value for v in optimizer.variables]]

    def run():
        value, state[0], state[1] = step(*state, inputs, target)
        return value

    return run


def measure(function, repeats: int) -> float:
    """Median seconds of a call, after two that are not counted."""
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
