"""SL-Att. at full size against its original under PyTorch, interleaved: inference, a training step, peak memory.

The original encodes the picture again for every sentence. For several sentences about one picture it runs twice, with
all of them in a batch of equal pictures and one by one; its better time is printed. At the end the original's weights
are converted and the outputs compared.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from against_pytorch import BOX, OURS, answer, as_pixels, convert_original, make_inputs, parse_arguments, run_rows
from measuring import write_json

WORKER = Path(__file__).with_name("sl_att_pytorch.py")
# Pictures, sentences, whether it is a training step.
ROWS = {
    "1 sentence": (1, 1, False),
    "7 sentences of 1 picture": (1, 7, False),
    "8 pictures, 1 sentence each": (8, 8, False),
    "training step, batch of 4": (4, 4, True),
}


def main():
    arguments = parse_arguments(__doc__.splitlines()[0], "SijieSong/CVPR21-Cogrounding_semantic_attention", ROWS)
    if arguments.alone:
        answer(make_step(*ROWS[arguments.alone]))
        return

    def make_commands(name):
        pictures, sentences, _ = ROWS[name]
        commands = {"pytorch": pytorch_command(arguments, name), OURS: [sys.executable, __file__, "--alone", name]}
        if pictures < sentences:
            commands["pytorch, one by one"] = [*commands["pytorch"], "--one-by-one"]
        return commands

    results = run_rows(arguments.rows, make_commands, arguments.repeats)
    print(f"largest difference of the outputs: {compare(arguments):.1e}", flush=True)
    write_json(arguments, results)


def compare(arguments: argparse.Namespace) -> float:
    """The largest difference of the outputs of the original and of our model with its converted weights."""
    name = "8 pictures, 1 sentence each"
    model, logits = convert_original(pytorch_command(arguments, name))
    images, token_ids = make_inputs("sl_att", *ROWS[name][:2])
    return float(abs(model({"image": images, "token_ids": token_ids})["box_logits"].numpy() - logits).max())


def pytorch_command(arguments: argparse.Namespace, name: str) -> list:
    """The command of the original's side of a row."""
    pictures, sentences, training = ROWS[name]
    command = [arguments.torch_python, WORKER, os.path.abspath(arguments.clone), str(pictures), str(sentences)]
    return command + ["--training"] * training


def make_step(pictures: int, sentences: int, training: bool):
    """What one call of our side does."""
    import tensorflow as tf

    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.training.trainer import Trainer
    from cogrounding_tf2.config import GroundingConfig, GroundingTrainConfig
    from cogrounding_tf2.models.sl_att import SLAtt

    images, token_ids = make_inputs("sl_att", pictures, sentences)
    model = SLAtt(GroundingConfig())
    if not training:
        runner, pixels = ModelRunner(model), as_pixels(images)
        return lambda: runner.decode(runner.encode(pixels), {"token_ids": token_ids})
    config = GroundingTrainConfig("unc", "train", batch_size=pictures, model_name="sl_att", model=model.config)
    inputs = {"image": tf.constant(images), "token_ids": tf.constant(token_ids)}
    step, boxes = tf.function(Trainer(model, config).train_step), tf.constant([BOX] * pictures)
    return lambda: float(step((inputs, boxes))["loss"])


if __name__ == "__main__":
    main()
