"""MaskRIS at full size against its original under PyTorch, interleaved: inference, a training step, peak memory.

The original encodes the picture again for every sentence. At the end the original's weights are converted and the
logits compared.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from against_pytorch import OURS, answer, as_pixels, convert_original, make_inputs, parse_arguments, run_rows
from measuring import write_json

WORKER = Path(__file__).with_name("maskris_pytorch.py")
# Pictures, sentences, whether it is a training step.
ROWS = {
    "1 sentence": (1, 1, False),
    "7 sentences of 1 picture": (1, 7, False),
    "8 pictures, 1 sentence each": (8, 8, False),
    "training step, batch of 2": (2, 2, True),
}


def main():
    arguments = parse_arguments(__doc__.splitlines()[0], "naver-ai/maskris", ROWS)
    if arguments.alone:
        answer(make_step(*ROWS[arguments.alone]))
        return

    def make_commands(name):
        return {"pytorch": pytorch_command(arguments, name), OURS: [sys.executable, __file__, "--alone", name]}

    results = run_rows(arguments.rows, make_commands, arguments.repeats)
    print(f"largest difference of the logits: {compare(arguments):.1e}", flush=True)
    write_json(arguments, results)


def compare(arguments: argparse.Namespace) -> float:
    """The largest difference of the logits of the original and of our model with its converted weights."""
    model, logits = convert_original(pytorch_command(arguments, "1 sentence"))
    background, foreground = logits.swapaxes(0, 1)
    images, token_ids = make_inputs("maskris", 1, 1)
    outputs = model({"image": images, "token_ids": token_ids, "token_mask": token_ids * 0 + 1})
    return float(abs(outputs["mask_logits"].numpy()[..., 0] - (foreground - background)).max())


def pytorch_command(arguments: argparse.Namespace, name: str) -> list:
    """The command of the original's side of a row."""
    pictures, sentences, training = ROWS[name]
    command = [arguments.torch_python, WORKER, os.path.abspath(arguments.clone), str(pictures), str(sentences)]
    return command + ["--training"] * training


def make_step(pictures: int, sentences: int, training: bool):
    """What one call of our side does."""
    import numpy as np
    import tensorflow as tf

    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.models.maskris.config import MaskRISConfig
    from cmpc_tf2.models.maskris.model import MaskRIS
    from cmpc_tf2.training.config import TrainConfig
    from cmpc_tf2.training.trainer import Trainer

    images, token_ids = make_inputs("maskris", pictures, sentences)
    text = {"token_ids": token_ids, "token_mask": np.ones_like(token_ids)}
    model = MaskRIS(MaskRISConfig())
    if not training:
        runner = ModelRunner(model)
        pixels = as_pixels(images)
        return lambda: runner.decode(runner.encode(pixels), text)
    trainer = Trainer(model, TrainConfig("unc", "train", batch_size=pictures, model_name="maskris", model=model.config))
    target = tf.constant(images[..., :1] > 0, tf.float32)
    inputs = {"image": images, **text}
    inputs = {**inputs, **{f"masked_{name}": inputs[name] for name in ("image", "token_ids")}}
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    step = tf.function(trainer.train_step)
    return lambda: float(step((inputs, target))["loss"])


if __name__ == "__main__":
    main()
