"""Writes a model as a TensorFlow SavedModel that runs without this project, and checks that it does."""

import argparse
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cmpc_tf2.errors import InputError
from cmpc_tf2.files import require_writable

logger = logging.getLogger(__name__)

# Largest difference between the exported model's logits and ours.
TOLERANCE = 1e-4

# Runs alone: it knows nothing of this project.
_CHECK = """
import sys
import numpy as np
import tensorflow as tf
inputs = dict(np.load(sys.argv[2]))
outputs = tf.saved_model.load(sys.argv[1]).signatures["tensors"](**{k: tf.constant(v) for k, v in inputs.items()})
np.savez(sys.argv[3], **{k: v.numpy() for k, v in outputs.items()})
"""


def run(arguments: argparse.Namespace):
    """The `export` command."""
    target = arguments.output
    if target.exists():
        raise InputError(f"{target}: is there already; give the name of a new folder")
    require_writable(target)

    from cmpc_tf2.checkpoints import load_kind

    model = load_kind(arguments.model, arguments.task.model_type)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        export(model, partial)
        difference = compare(model, partial)
        if not difference <= TOLERANCE:
            raise InputError(f"{target}: its logits differ by {difference:.1e} from the model's; nothing was written")
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{target}: signature `tensors`; largest difference to {arguments.model}: {difference:.1e}")


def export(model, folder: Path):
    """Writes a SavedModel.

    Its signature `tensors` takes `image`, float32 `(B, S, S, 3)`, BGR minus mean, and `token_ids`, int32 `(B, T)`, and
    gives `mask_logits`, float32 `(B, S, S, 1)`; any batch size, and one image beside any number of expressions. Of a
    video model it takes `clip`, float32 `(B, 16, S, S, 3)`, in place of `image`.

    Args:
        model: A CMPC model, for images or video. Batch norms are folded in what is written.
        folder: The folder to write.
    """
    import keras
    import tensorflow as tf

    encoder, decoder = model.inference_encoder(), model.expression_decoder
    pixels = encoder.input.name

    def tensors(inputs):
        features = encoder(inputs[pixels], training=False)
        logits = decoder({**features, "token_ids": inputs["token_ids"]}, training=False)
        return {"mask_logits": logits["mask_logits"]}

    archive = keras.export.ExportArchive()
    archive.track(encoder)
    archive.track(decoder)
    specs = {
        pixels: tf.TensorSpec((None, *encoder.input.shape[1:]), tf.float32, name=pixels),
        "token_ids": tf.TensorSpec((None, model.config.max_words), tf.int32, name="token_ids"),
    }
    archive.add_endpoint("tensors", tensors, input_signature=[specs])
    archive.write_out(str(folder), verbose=False)


def compare(model, folder: Path) -> float:
    """Runs an exported model in a process that does not have this project, on two random inputs.

    Returns:
        The largest difference between its logits and the model's.

    Raises:
        InputError: It does not run.
    """
    import numpy as np

    folder = folder.resolve()  # The other process runs in it.
    rng = np.random.default_rng(0)
    words, pixels = model.config.max_words, model.image_encoder.input
    token_ids = np.zeros((2, words), np.int32)
    token_ids[:, words // 2 :] = rng.integers(1, model.config.vocabulary_size, size=(2, words - words // 2))
    values = rng.uniform(-120, 120, size=(2, *pixels.shape[1:])).astype(np.float32)
    inputs = {pixels.name: values, "token_ids": token_ids}
    given, found = folder / "given.npz", folder / "found.npz"
    np.savez(given, **inputs)
    command = [sys.executable, "-I", "-c", _CHECK, folder, given, found]
    result = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise InputError(f"the exported model does not run: {lines[-1]}")
    outputs = dict(np.load(found))
    for path in (given, found):
        path.unlink()
    return float(np.abs(outputs["mask_logits"] - np.asarray(model(inputs)["mask_logits"])).max())
