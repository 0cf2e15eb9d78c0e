"""Writes a model in a form that runs without this project, and checks that it does."""

import argparse
import hashlib
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import cmpc_tf2
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import making_folder, replacing, require_new_folder, require_writable, write_json, write_text
from cmpc_tf2.graph_files import FORMATS, GraphFormat

logger = logging.getLogger(__name__)

# Largest difference between the exported model's results and ours.
TOLERANCE = 1e-4

# Runs alone: it knows nothing of this project.
_CHECK = """
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

_CARD = """# {title}

A SavedModel of {kind} for referring {task}: a {data} and a sentence in, the mask of what is meant out. Written by
cmpc-tf2 {version} from `{source}` (sha256 `{checksum}`).

| | |
|---|---|
| sizes | {sizes} |
| vocabulary | {words} |
| trained on, scores | not recorded in the model file: see the run or the checkpoint it comes from |

## Use

```python
import tensorflow as tf

model = tf.saved_model.load("{name}")
{use}
```

`signature.json` lists every signature with types and shapes. `tensors` takes what is preprocessed already: pixels of
{size} x {size}, blue first, 0 to 255, minus the mean (104.00698793, 116.66876762, 122.67891434); token ids with 0 for
padding on the left.

## Limits

- Sentences are English, of at most {max_words} words; what is not in the vocabulary counts as unknown. One without any
  word is an error.
- Pictures are scaled to {size} pixels on their longer side: what is smaller than a few pixels there cannot be found.
- The orientation in a picture's EXIF data is not looked at.
- It always marks the likeliest pixels; that nothing fits the sentence it was not trained to say.

The code is under the MIT licence; the terms of the weights are those of the checkpoint and of its training data.
"""

_USE_OF_PICTURES = """found = model.signatures["serving_default"](
    image_bytes=tf.constant(open("photo.jpg", "rb").read()), expression=tf.constant("man in the red shirt")
)
found["mask"]  # uint8 (h, w), 0 and 1, at the picture's own size; also "probabilities" and "score\""""
_USE_OF_CLIPS = """found = model.signatures["serving_default"](
    frames=tf.constant(frames), expression=tf.constant("man in black climbing")  # uint8 RGB (16, h, w, 3)
)
found["mask"]  # uint8 (h, w), 0 and 1, of the ninth frame; also "probabilities" and "score\""""
_USE_OF_TENSORS = """found = model.signatures["tensors"]({input}=pixels, token_ids=token_ids)
found["mask_logits"]  # float32 (B, S, S, 1)"""


def run(arguments: argparse.Namespace):
    """The `export` command."""
    if arguments.format != "saved_model":
        _export_file(arguments)
        return
    target = arguments.output
    require_new_folder(target)

    from cmpc_tf2.checkpoints import load_kind

    model = load_kind(arguments.model, *arguments.task.model_types.values())
    if model.vocabulary is None:
        logger.warning("%s holds no vocabulary: exporting the signature `tensors` alone", arguments.model)
    with making_folder(target) as partial:
        signatures = export(model, partial)
        difference = compare(model, partial)
        if not difference <= TOLERANCE:
            raise InputError(f"{target}: its results differ by {difference:.1e} from the model's; nothing was written")
        write_json(partial / "signature.json", signatures)
        write_text(partial / "README.md", card(model, arguments.model, target.name))
    print(f"{target}: {', '.join(signatures)}; largest difference to {arguments.model}: {difference:.1e}")


def _export_file(arguments: argparse.Namespace):
    """One file of another format: whole and checked, or not at all."""
    target, graph_format = arguments.output, FORMATS[arguments.format]
    if target.suffix != graph_format.suffix:
        raise InputError(f"{target}: expected a name that ends in {graph_format.suffix}")
    require_writable(target, others=[arguments.model])
    missing = [name for name in graph_format.needs if importlib.util.find_spec(name) is None]
    if missing:
        packages = ", ".join(missing)
        raise InputError(f"--format {arguments.format} needs {packages}: `pip install '.[{arguments.format}]'`")

    from cmpc_tf2.checkpoints import load_kind
    from cmpc_tf2.exported_model import ExportedModel

    model = load_kind(arguments.model, *arguments.task.model_types.values())
    signature = ExportedModel(model).signatures()["tensors"]
    with replacing(target) as partial:
        try:
            graph_format.write(signature, partial)
        except Exception as error:  # The converters raise almost anything for a graph that they cannot convert.
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(
                f"{target}: the converter of --format {arguments.format} cannot convert {model.title}: {reason}; "
                "use another --format"
            ) from error
        difference = compare_file(model, partial, graph_format)
        if not difference <= TOLERANCE:
            raise InputError(f"{target}: its results differ by {difference:.1e} from the model's; nothing was written")
    print(f"{target}: largest difference to {arguments.model}: {difference:.1e}")


def compare_file(model, path: Path, graph_format: GraphFormat) -> float:
    """Runs an exported file on one picture and one sentence, on two of each, and on one picture and three sentences.

    Returns:
        The largest difference between its logits and the model's.
    """
    import keras
    import numpy as np

    from cmpc_tf2.data.image_ops import subtract_mean

    rng = np.random.default_rng(0)
    words, pixels = model.config.max_words, model.image_encoder.input
    differences = []
    for pictures, lengths in ((1, [3]), (2, [1, words]), (1, [2, 7, words])):
        values = subtract_mean(rng.integers(0, 256, size=(pictures, *pixels.shape[1:]), dtype=np.uint8))
        token_ids = rng.integers(1, model.config.vocabulary_size, size=(len(lengths), words)).astype(np.int32)
        for row, length in zip(token_ids, lengths, strict=True):
            row[: words - length] = 0
        features = model.image_encoder(values, training=False)
        inputs = {**features, "token_ids": keras.ops.convert_to_tensor(token_ids)}
        expected = model.expression_decoder(inputs, training=False)["mask_logits"]
        found = graph_format.run(path, {pixels.name: values, "token_ids": token_ids})
        differences.append(found - keras.ops.convert_to_numpy(expected))
    return _largest_difference(differences)


def export(model, folder: Path) -> dict:
    """Writes a SavedModel with the signatures of `ExportedModel`.

    Args:
        model: A model, for images or video; with a vocabulary, for raw pictures and sentences too.
        folder: The folder to write.

    Returns:
        For each signature its inputs and outputs: `{"dtype": ..., "shape": [...]}` by name, None for any size.
    """
    import tensorflow as tf

    from cmpc_tf2.exported_model import ExportedModel

    os.makedirs(folder, exist_ok=True)
    exported = ExportedModel(model)
    signatures = {name: function.get_concrete_function() for name, function in exported.signatures().items()}
    tf.saved_model.save(exported, str(folder), signatures=signatures)

    def described(specs: dict) -> dict:
        return {name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in specs.items()}

    return {
        name: {
            "inputs": described(function.structured_input_signature[0][0]),
            "outputs": described(function.structured_outputs),
        }
        for name, function in signatures.items()
    }


def compare(model, folder: Path) -> float:
    """Runs an exported model in a process that does not have this project, on random inputs.

    Returns:
        The largest difference between its logits and probabilities and the model's.

    Raises:
        InputError: It does not run.
    """
    import numpy as np

    folder = folder.resolve()  # The other process runs in it.
    given, expected = _inputs_and_results(model)
    given_file, found_file = folder / "given.npz", folder / "found.npz"
    np.savez(given_file, **given)
    command = [sys.executable, "-I", "-c", _CHECK, folder, given_file, found_file]
    result = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise InputError(f"the exported model does not run: {lines[-1]}")
    with np.load(found_file) as arrays:
        found = dict(arrays)
    for path in (given_file, found_file):
        path.unlink()
    return _largest_difference(found[key] - value for key, value in expected.items())


def _largest_difference(differences: Iterable) -> float:
    """The largest absolute value of some arrays; NaN if a value is NaN, which Python's `max` would skip."""
    import numpy as np

    return float(np.max([np.abs(difference).max() for difference in differences]))


def _inputs_and_results(model) -> tuple[dict, dict]:
    """Inputs by `signature/name`, and what the model makes of them. Pixels that are fitted already stay as they are."""
    import numpy as np
    from PIL import Image
    from scipy.special import expit

    from cmpc_tf2.data.image_ops import restore_map, subtract_mean
    from cmpc_tf2.data.text import Vocabulary
    from cmpc_tf2.predictor import TwoStageModel

    rng = np.random.default_rng(0)
    words, pixels = model.config.max_words, model.image_encoder.input
    token_ids = np.zeros((2, words), np.int32)
    token_ids[:, words // 2 :] = rng.integers(1, model.config.vocabulary_size, size=(2, words - words // 2))
    values = rng.integers(0, 256, size=(2, *pixels.shape[1:]), dtype=np.uint8)
    two_stage = TwoStageModel(model)
    given = {f"tensors/{pixels.name}": subtract_mean(values), "tensors/token_ids": token_ids}
    expected = {"tensors/mask_logits": two_stage.decode(two_stage.encode(values), token_ids)[..., None]}
    if model.vocabulary:
        vocabulary = Vocabulary(model.vocabulary)
        expression = " ".join([word for word in vocabulary.words if word.isascii() and word.isalnum()][:3]) or "thing"
        if pixels.name == "clip":
            given["serving_default/frames"] = values[0]
        else:
            file = io.BytesIO()
            Image.fromarray(values[0]).save(file, "PNG")
            given["serving_default/image_bytes"] = np.array(file.getvalue())
        given["serving_default/expression"] = np.array(expression.encode())
        logits = two_stage.decode(two_stage.encode(values[:1]), vocabulary.encode(expression, words)[None])[0]
        size = model.config.image_size
        expected["serving_default/probabilities"] = restore_map(expit(logits), size, size)
    return given, expected


def card(model, source: Path, name: str) -> str:
    """The model card: what it is, how to use it, its limits."""
    config, is_video = model.config, model.image_encoder.input.name == "clip"
    use = _USE_OF_CLIPS if is_video else _USE_OF_PICTURES
    if not model.vocabulary:
        use = _USE_OF_TENSORS.format(input=model.image_encoder.input.name)
    return _CARD.format(
        title=name,
        kind=model.title,
        task="video segmentation" if is_video else "image segmentation",
        data="clip" if is_video else "picture",
        version=cmpc_tf2.__version__,
        source=source.name,
        checksum=hashlib.sha256(source.read_bytes()).hexdigest(),
        sizes=json.dumps(config.to_dict()),
        words=f"{len(model.vocabulary)} words, in the graph" if model.vocabulary else "not in the model file",
        name=name,
        use=use,
        size=config.image_size,
        max_words=config.max_words,
    )
