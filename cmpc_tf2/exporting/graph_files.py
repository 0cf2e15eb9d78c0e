"""The `tensors` signature as one file for other runtimes: ONNX and TFLite."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

OPSET = 18


@dataclasses.dataclass(frozen=True)
class GraphFormat:
    """A file format.

    Attributes:
        suffix: Suffix of its file names.
        needs: Packages in addition to the requirements, by import name; the extra with the format's name installs them.
        writers: Functions that write a signature, a `tf.function`, to a path, by the type that weights are stored in.
        load: Loads the file at a path: a function of `image` (or `clip`) and `token_ids` that gives the output.
    """

    suffix: str
    needs: tuple[str, ...]
    writers: Mapping[str, Callable[[Any, Path], None]]
    load: Callable[[Path], Callable[[dict[str, np.ndarray]], np.ndarray]]


def write_onnx(signature, path: Path):
    """Writes ONNX."""
    import tf2onnx

    tf2onnx.convert.from_function(signature, signature.input_signature, opset=OPSET, output_path=str(path))


def load_onnx(path: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Loads ONNX with onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # Its errors are raised and need not be logged.
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def write_tflite(signature, path: Path, quantize: bool = False):
    """Writes TFLite, of built-in operations alone.

    Args:
        signature: The signature.
        path: The file.
        quantize: Dynamic range quantization: weights of products and convolutions become int8 if they have at least
            1,024 elements. All else stays float32. The metadata of the file says `PTQ_DYNAMIC_RANGE`.
    """
    import tensorflow as tf

    # Without the object that holds the variables, which makes constants of them; with it they would stay uninitialised.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature.get_concrete_function()])
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


def load_tflite(path: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Loads TFLite with LiteRT, which uses one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    places = {place["name"]: place["index"] for place in interpreter.get_input_details()}

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        for name, value in inputs.items():
            interpreter.resize_tensor_input(places[name], value.shape)
        interpreter.allocate_tensors()
        for name, value in inputs.items():
            interpreter.set_tensor(places[name], value)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


# Not int8 in ONNX: `quantize_dynamic` of ONNX Runtime made convolutions slower than in float32 (docs/performance.md).
FORMATS = {
    "onnx": GraphFormat(".onnx", ("tf2onnx", "onnxruntime"), {"float32": write_onnx}, load_onnx),
    "tflite": GraphFormat(
        ".tflite",
        ("ai_edge_litert",),
        {"float32": write_tflite, "int8": functools.partial(write_tflite, quantize=True)},
        load_tflite,
    ),
}
# All formats of exported models, and all types that weights are stored in.
EXPORT_FORMATS = ("saved_model", *FORMATS)
WEIGHT_TYPES = tuple(dict.fromkeys(weights for one in FORMATS.values() for weights in one.writers))
