"""The README.md of an exported model."""

import hashlib
import json
from pathlib import Path

import cmpc_tf2
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.systems import import_object

_USE_OF_PICTURES = """found = model.signatures["serving_default"](
    image_bytes=tf.constant(open("photo.jpg", "rb").read()), expression=tf.constant("man in the red shirt")
)"""

_USE_OF_CLIPS = """found = model.signatures["serving_default"](
    frames=tf.constant(frames), expression=tf.constant("man in black climbing")  # uint8 RGB ({frames}, h, w, 3)
)"""

_USE_OF_TENSORS = """found = model.signatures["tensors"]({inputs})"""


def write_card(model: ReferringModel, source: Path, name: str) -> str:
    """The model card: what it is, how to use it, its limits."""
    config, is_video, answer = model.config, model.input_name == "clip", import_object(model.exported_answer)
    use = _USE_OF_CLIPS.format(frames=model.image_encoder.input.shape[1]) if is_video else _USE_OF_PICTURES
    use = f"{use}\n{answer.use[model.input_name]}"
    if not model.vocabulary:
        text = [name for name in model.input if name != model.input_name]
        inputs = ", ".join([f"{model.input_name}=pixels", *(f"{name}={name}" for name in text)])
        use = f"{_USE_OF_TENSORS.format(inputs=inputs)}\n{answer.use['tensors']}"
    data = "clip" if is_video else "picture"
    checksum = hashlib.sha256(source.read_bytes()).hexdigest()
    words = f"{len(model.vocabulary)} words, in the graph" if model.vocabulary else "not in the model file"
    return f"""# {name}

A SavedModel of {model.title}: a {data} and a sentence in, {answer.description} out.
Written by cmpc-tf2 {cmpc_tf2.__version__} from `{source.name}` (sha256 `{checksum}`).

| | |
|---|---|
| sizes | {json.dumps(config.to_dict())} |
| vocabulary | {words} |
| trained on, scores | not recorded in the model file: see the run or the checkpoint it comes from |

## Use

```python
import tensorflow as tf

model = tf.saved_model.load("{name}")
{use}
```

`signature.json` lists every signature with types and shapes. `tensors` takes preprocessed inputs: pixels of
{config.image_size} x {config.image_size}, {model.preprocessing.describe()}; {model.tokenizer_type.inputs}.

## Limits

- Sentences are English, and cut after {config.max_words} tokens; what is not in the vocabulary counts as unknown.
  One without any word is an error.
- Pictures are {model.preprocessing.describe_resizing()}: what is smaller than a few pixels there cannot be found.
- The orientation in a picture's EXIF data is not looked at.
- Like all of these models, it was not trained to report that the object is absent.

The code is under the MIT licence; the terms of the weights are those of the checkpoint and of its training data.
"""
