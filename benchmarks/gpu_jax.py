"""A model on a GPU through Keras' JAX backend: forward and training step by batch size and precision.

`models/` and `layers/` use Keras alone, so TensorFlow is not needed here: Keras, JAX and NumPy are. Prints milliseconds
a step, samples a second, floating-point operations a second by XLA's count, and the device's peak memory; each row runs
in a process of its own. The training step is that of the system's recipe; MaskRIS' second pass computes the first one
again, which it needs for its targets. Where the driver lets only one process have most of the memory, set
XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import argparse
import itertools
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

from cmpc_tf2.precision import computing_in
from cmpc_tf2.recipes.masking import MASKED
from cmpc_tf2.systems import SYSTEMS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("cmpc", "maskris"), default="cmpc")
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
    versions = f"JAX {jax.__version__}, Keras {keras.__version__}, {time.strftime('%Y-%m-%d')}"
    print(f"{arguments.model} on {device.device_kind}, {versions}")
    print(f"{'':24}{'batch':>6}{'ms':>10}{'samples/s':>11}{'TFLOP/s':>9}{'peak GB':>9}")
    results = []
    for precision in arguments.precisions:
        for size in arguments.batch_sizes:
            for name in ("forward", "training step"):
                options = ["--model", arguments.model, "--precisions", precision, "--batch-sizes", size]
                options += ["--repeats", arguments.repeats]
                options += ["--sizes", arguments.sizes] if arguments.sizes else []
                row = run_alone(__file__, name, *options)
                results.append(row)
                print(
                    f"{precision + ' ' + name:24}{size:6}{1000 * row['s']:10.1f}{size / row['s']:11.1f}"
                    f"{row['tflop'] / row['s']:9.1f}{row['peak_gb']:9.1f}",
                    flush=True,
                )
    write_json(arguments, results)


def measure_row(arguments: argparse.Namespace) -> dict:
    """Figures of one row."""
    (precision,), (size,), system = arguments.precisions, arguments.batch_sizes, SYSTEMS[arguments.model]
    sizes = json.loads(arguments.sizes.read_bytes()) if arguments.sizes else {}
    with computing_in(precision):
        model = system.model_type(sizes, name=system.name)
    make = make_forward if arguments.alone == "forward" else make_training_step
    compute, state = make(model, size)
    seconds, flops = measure(compute, state, arguments.repeats)
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e9
    row = {"what": arguments.alone, "precision": precision, "batch": size}
    return {**row, "s": seconds, "tflop": flops / 1e12, "peak_gb": peak}


def inputs_of(model, size: int) -> dict:
    """Random pictures and expressions of eight words."""
    rng = np.random.default_rng(0)
    side = model.config.image_size
    image = rng.normal(0, 1, (size, side, side, 3)).astype(np.float32) * (60 if model.tokenizer_name == "words" else 1)
    text = model.tokenizer_type.random_inputs(model.config, [8] * size, rng)
    return jax.device_put({"image": image, **text})


def make_forward(model, size: int) -> tuple:
    """A function of the weights that gives the masks of a batch, and no new weights; and the weights."""
    inputs = inputs_of(model, size)
    state = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    return lambda state: (model.stateless_call(*state, inputs, training=False)[0]["mask_logits"], None), state


def make_training_step(model, size: int) -> tuple:
    """A function of weights and slots that takes a step by the system's recipe, as `Trainer` does; and both of them."""
    system, inputs, side = SYSTEMS[model.name], inputs_of(model, size), model.config.image_size
    recipe = system.load_recipe()
    if system.name == "maskris":  # The copies need not be masked to be timed.
        inputs |= {f"{MASKED}{name}": inputs[name] for name in ("image", "token_ids")}
    target = jax.device_put((np.random.default_rng(1).random((size, side, side, 1)) < 0.2).astype(np.float32))
    config = system.train_config_type("", "", model_name=system.name, model=model.config, batch_size=size)
    optimizer = recipe.make_optimizer(config.completed())
    variables = recipe.trained_variables(model, finetune_backbone=False)
    optimizer.build(variables)
    paths = {variable.path for variable in variables}
    others = [variable for variable in model.variables if variable.path not in paths]
    fixed = [variable.value for variable in others]

    def forward(inputs):
        return model({name: inputs[name] for name in model.input}, training=True)

    def loss_of_pass(number):
        def loss(trained):
            state = [*zip(variables, trained, strict=True), *zip(others, fixed, strict=True)]
            with keras.StatelessScope(state_mapping=state):
                passes = recipe.losses(forward, inputs, target, recipe.normalizer(target))
                value, _, _ = next(itertools.islice(passes, number, None))
                return value + (recipe.penalty(variables) if number == 0 else 0.0)

        return loss

    def step(state):
        trained, slots = state
        values, gradients = zip(
            *(jax.value_and_grad(loss_of_pass(number))(trained) for number in range(recipe.passes)), strict=True
        )
        gradients = [sum(of_passes) for of_passes in zip(*gradients, strict=True)]
        return sum(values), optimizer.stateless_apply(slots, gradients, trained)

    return step, ([variable.value for variable in variables], [variable.value for variable in optimizer.variables])


def measure(compute, state, repeats: int) -> tuple[float, float]:
    """Median seconds of a call, after two that are not counted, and its floating-point operations by XLA's count."""
    compiled = jax.jit(compute).lower(state).compile()
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        _, changed = jax.block_until_ready(compiled(state))
        seconds.append(time.perf_counter() - start)
        state = changed or state
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return statistics.median(seconds[2:]), (analysis or {}).get("flops", 0.0)


if __name__ == "__main__":
    main()
