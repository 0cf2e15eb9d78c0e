"""Runs exported files and the models they come from on random inputs."""

import io
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from cmpc_tf2.errors import InputError
from cmpc_tf2.exporting.graph_files import GraphFormat
from cmpc_tf2.inference.evaluation import one_by_one
from cmpc_tf2.inference.runner import ModelRunner
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.systems import import_object

# Largest difference between the exported model's results and ours, by the type of its weights. How much int8 changes
# logits depends on the model, so the difference is reported and only has to be finite.
TOLERANCES = {"float32": 1e-4, "int8": float(np.finfo(np.float32).max)}

# Runs in a separate process without this project.
_RUN_SAVED_MODEL = """
import sys
import numpy as np
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
results = {}
for signature in ("tensors", "serving_default"):
    inputs = {key.split("/")[1]: tf.constant(value) for key, value in np.load(sys.argv[2]).items()
              if key.startswith(signature + "/")}
    if inputs:
        results |= {f"{signature}/{key}": value.numpy() for key, value in signatures[signature](**inputs).items()}
np.savez(sys.argv[3], **results)
"""


def require_close(target: Path, difference: float, weights: str = "float32"):
    """Checks the largest difference between an exported model's results and ours.

    Args:
        target: The exported model, for the message.
        difference: The difference.
        weights: The type of its weights.

    Raises:
        InputError: It is too large.
    """
    if not difference <= TOLERANCES[weights]:
        raise InputError(f"{target}: its results differ by {difference:.1e} from the model's; nothing was written")


def compare_saved_model(model: ReferringModel, folder: Path) -> float:
    """Runs an exported model in a process that does not have this project, on random inputs.

    Returns:
        The largest difference between its logits and probabilities and the model's.

    Raises:
        InputError: It does not run.
    """
    folder = folder.resolve()  # The other process runs in it.
    given, expected = _inputs_and_results(model)
    given_file, found_file = folder / "given.npz", folder / "found.npz"
    np.savez(given_file, **given)
    command = [sys.executable, "-I", "-c", _RUN_SAVED_MODEL, folder, given_file, found_file]
    result = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise InputError(f"the exported model does not run: {lines[-1]}")
    with np.load(found_file) as arrays:
        found = dict(arrays)
    for path in (given_file, found_file):
        path.unlink()
    return _largest_difference(found[key] - value for key, value in expected.items())


def _inputs_and_results(model: ReferringModel) -> tuple[dict, dict]:
    """Inputs by `signature/name`, and the model's results. Pixels that are fitted already stay as they are."""
    rng = np.random.default_rng(0)
    words, pixels = model.config.max_words, model.image_encoder.input
    text = model.tokenizer_type.random_inputs(model.config, [words - words // 2] * 2, rng)
    values = rng.integers(0, 256, size=(2, *pixels.shape[1:]), dtype=np.uint8)
    runner = ModelRunner(model)
    given = {f"tensors/{pixels.name}": model.preprocessing.normalize(values)}
    given |= {f"tensors/{name}": value for name, value in text.items()}
    answer = import_object(model.exported_answer)()
    expected = {f"tensors/{answer.output}": _decoded(model, model.preprocessing.normalize(values), text)}
    if model.vocabulary:
        known = [word for word in model.vocabulary if word.isascii() and word.isalnum()]
        expression = " ".join(known[:3]) or "thing"
        if pixels.name == "clip":
            given["serving_default/frames"] = values[0]
        else:
            file = io.BytesIO()
            Image.fromarray(values[0]).save(file, "PNG")
            given["serving_default/image_bytes"] = np.array(file.getvalue())
        given["serving_default/expression"] = np.array(expression.encode())
        text = {name: value[None] for name, value in model.make_tokenizer().encode(expression).items()}
        (found,) = one_by_one(runner.decode(runner.encode(values[:1]), text))
        expected[f"serving_default/{answer.measured}"] = answer.expected(found, model)
    return given, expected


def compare_file(model: ReferringModel, path: Path, graph_format: GraphFormat) -> float:
    """Runs an exported file on one picture and one sentence, on two of each, and on one picture and three sentences.

    Returns:
        The largest difference between its logits and the model's.
    """
    rng = np.random.default_rng(0)
    words, pixels = model.config.max_words, model.image_encoder.input
    run, differences = graph_format.load(path), []
    for pictures, lengths in ((1, [3]), (2, [1, words]), (1, [2, 7, words])):
        raw = rng.integers(0, 256, size=(pictures, *pixels.shape[1:]), dtype=np.uint8)
        values = model.preprocessing.normalize(raw)
        text = model.tokenizer_type.random_inputs(model.config, lengths, rng)
        found = run({pixels.name: values, **text})
        differences.append(found - _decoded(model, values, text))
    return _largest_difference(differences)


def _decoded(model: ReferringModel, values: np.ndarray, text: dict[str, np.ndarray]) -> np.ndarray:
    """The output of the model that the signature `tensors` gives."""
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in text.items()}
    outputs = model.expression_decoder({**model.image_encoder(values, training=False), **tensors}, training=False)
    return keras.ops.convert_to_numpy(outputs[import_object(model.exported_answer).output])


def _largest_difference(differences: Iterable) -> float:
    """The largest absolute value of some arrays; NaN if a value is NaN, which Python's `max` would skip."""
    return float(np.max([np.abs(difference).max() for difference in differences]))
