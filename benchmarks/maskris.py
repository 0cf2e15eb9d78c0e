"""MaskRIS at full size against its original under PyTorch, interleaved: inference, a training step, peak memory.

The original encodes the picture again for every sentence. Each row runs both sides in processes of their own, which
take turns, so that other load meets both. At the end the original's weights are converted and the logits compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskris_sides import answer, make_inputs
from measuring import add_json_option, write_json

WORKER = Path(__file__).with_name("maskris_pytorch.py")
# Pictures, sentences, whether it is a training step.
ROWS = {
    "1 sentence": (1, 1, False),
    "7 sentences of 1 picture": (1, 7, False),
    "8 pictures, 1 sentence each": (8, 8, False),
    "training step, batch of 2": (2, 2, True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clone", help="clone of naver-ai/maskris")
    parser.add_argument("--torch-python", help="a Python with torch, numpy and filelock")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    add_json_option(parser)
    parser.add_argument("--alone", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        answer(make_step(*ROWS[arguments.alone]))
        return
    if not arguments.clone or not arguments.torch_python:
        print("skipped: give --clone, a clone of naver-ai/maskris, and --torch-python, a Python with torch")
        return
    print(f"{'':30}{'PyTorch s':>10}{'ours s':>8}{'times':>7}{'PyTorch MB':>12}{'ours MB':>9}")
    results = {}
    for name in arguments.rows:
        results[name] = row = measure(name, arguments)
        theirs, ours = row["pytorch"], row["ours"]
        print(
            f"{name:30}{theirs['seconds']:10.2f}{ours['seconds']:8.2f}{theirs['seconds'] / ours['seconds']:7.2f}"
            f"{theirs['peak_mb']:12.0f}{ours['peak_mb']:9.0f}",
            flush=True,
        )
    # Last: a process starts with the peak memory of the one that started it.
    print(f"largest difference of the logits: {compare(arguments):.1e}", flush=True)
    write_json(arguments, results)


def measure(name: str, arguments: argparse.Namespace) -> dict:
    """Medians of the seconds of both sides, and their peak memory."""
    commands = {"pytorch": pytorch_command(arguments, name), "ours": [sys.executable, __file__, "--alone", name]}
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    workers = {side: subprocess.Popen(command, **pipes) for side, command in commands.items()}
    for worker in workers.values():
        if not worker.stdout.readline():
            sys.exit(f"{name}: {worker.args[0]} failed")
    answers = {side: [] for side in workers}
    for _ in range(2 + arguments.repeats):
        for side, worker in workers.items():
            worker.stdin.write("\n")
            worker.stdin.flush()
            answers[side].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    medians = {side: statistics.median(one["seconds"] for one in found[2:]) for side, found in answers.items()}
    return {side: {"seconds": medians[side], "peak_mb": answers[side][-1]["peak_mb"]} for side in workers}


def compare(arguments: argparse.Namespace) -> float:
    """The largest difference of the logits of the original and of our model with its converted weights."""
    from cmpc_tf2 import load_model
    from cmpc_tf2.conversion import pytorch
    from cmpc_tf2.conversion.torch_reader import read_torch_file

    with tempfile.TemporaryDirectory() as folder:
        checkpoint, converted = f"{folder}/maskris.pth", f"{folder}/maskris.keras"
        command = pytorch_command(arguments, "1 sentence")
        subprocess.run([*command, "--save", checkpoint], check=True, stdout=sys.stderr)
        pytorch.convert(checkpoint, converted)
        background, foreground = read_torch_file(checkpoint)["logits"].swapaxes(0, 1)
        images, token_ids = make_inputs(1, 1)
        logits = load_model(converted)({"image": images, "token_ids": token_ids, "token_mask": token_ids * 0 + 1})
    return float(abs(logits["mask_logits"].numpy()[..., 0] - (foreground - background)).max())


def pytorch_command(arguments: argparse.Namespace, name: str) -> list[str]:
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

    images, token_ids = make_inputs(pictures, sentences)
    text = {"token_ids": token_ids, "token_mask": np.ones_like(token_ids)}
    model = MaskRIS(MaskRISConfig())
    if not training:
        runner = ModelRunner(model)
        pixels = np.clip(images * 57 + 115, 0, 255).astype(np.uint8)
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
