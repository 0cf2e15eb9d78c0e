"""Our side of a row of `peers.py`, in a process of its own."""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tensorflow as tf
from counting import count_gflop
from measuring import gflops_of, make_product
from peer_process import BOX, answer, make_inputs, make_pairs, parse_side

from cmpc_tf2 import load_model
from cmpc_tf2.inference.runner import make_runner
from cmpc_tf2.precision import computing_in
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer

PRODUCTS = 10


def main():
    options = parse_side(__doc__)
    if options.save:
        save_cmpc(options.weights)
        return
    system, sizes = options.system, (options.pictures, options.sentences)
    weights = "float32" if options.training else options.precision
    with computing_in(options.precision, weights):
        model = load_model(options.weights)
        if options.training:
            step, answers = make_training(system, model, *sizes), None
        else:
            step, answers = make_inference(system, model, *sizes)
    answer(
        step,
        count=lambda _: {"gflop": count_gflop(step), "gflops": product_gflops()},
        compare=lambda path: float(abs(answers() - np.load(path)).max()),
    )


def save_cmpc(path: str):
    """Writes a new CMPC model; those of other systems are converted from the originals' weights."""
    import keras

    from cmpc_tf2.model_files import save_model
    from cmpc_tf2.models.cmpc.model import CMPC

    keras.utils.set_random_seed(0)
    save_model(CMPC(name="cmpc"), path)


def make_inference(system: str, model, pictures: int, sentences: int) -> tuple:
    """What a call of inference does, and a function of the numbers that are compared with the original's."""
    pixels, token_ids = make_inputs(system, pictures, sentences)
    text = {"token_ids": token_ids, "token_mask": np.ones_like(token_ids)}
    runner = make_runner(model)

    def infer():
        return runner.decode(runner.encode(pixels), text)

    def box_logits():
        images = model.preprocessing.normalize(np.repeat(pixels, sentences // pictures, axis=0))
        return model({"image": images, "token_ids": token_ids})["box_logits"].numpy()

    answers = {"sl_att": box_logits, "mattnet": lambda: runner.scores(runner.encode(pixels), text)["scores"]}
    return infer, answers.get(system, infer)


def make_training(system: str, model, pictures: int, sentences: int):
    """What a training step does."""
    if system == "sl_att":
        from cogrounding_tf2.config import GroundingTrainConfig as Config
    else:
        Config = TrainConfig
    config = Config("unc", "train", batch_size=pictures, model_name=system, model=model.config)
    inputs, target = make_batch(system, model, pictures, sentences)
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    target = tf.nest.map_structure(tf.constant, target)
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})  # As `train`.
    step = tf.function(Trainer(model, config).train_step, autograph=False)
    return lambda: float(step((inputs, target))["loss"])


def make_batch(system: str, model, pictures: int, sentences: int) -> tuple:
    """Inputs and target of a training step."""
    pixels, token_ids = make_inputs(system, pictures, sentences)
    if system == "mattnet":
        features, rows, attributes, weights = make_pairs(pictures)
        # Pairs, other boxes with the sentences of the pairs, the boxes of the pairs with other sentences.
        labels = np.concatenate([token_ids, token_ids, np.roll(token_ids, 1, axis=0)])
        inputs = {name: value[:, None] for name, value in features.items()}
        return {**inputs, "rows": rows, "token_ids": labels}, {"attributes": attributes, "attribute_weights": weights}
    inputs = {"image": model.preprocessing.normalize(pixels), "token_ids": token_ids}
    if system == "sl_att":
        return inputs, np.float32([BOX] * pictures)
    if system == "maskris":
        inputs["token_mask"] = np.ones_like(token_ids)
        inputs |= {f"masked_{name}": inputs[name] for name in ("image", "token_ids")}
    return inputs, np.float32(pixels[..., :1] > 127)


def product_gflops() -> float:
    """The rate of a matrix product in seconds of the processor."""
    multiply, seconds = make_product(), []
    multiply()
    for _ in range(PRODUCTS):
        start = time.process_time()
        multiply()
        seconds.append(time.process_time() - start)
    return gflops_of(min(seconds))


if __name__ == "__main__":
    main()
