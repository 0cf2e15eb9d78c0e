"""The `tensors` signature as one file for other runtimes: ONNX and TFLite."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

OPSET = 18


@dataclasses.dataclass(frozen=True)
class GraphFormat:
    """A file format.

    Attributes:
        suffix: Suffix of its file names.
        needs: Packages in addition to the requirements, by import name; the extra with the format's name installs them.
        write: Writes a signature, a `tf.function`, to a path.
        run: Runs the file at a path on `image` (or `clip`) and `token_ids`: the output.
    """

    suffix: str
    needs: tuple[str, ...]
    write: Callable[..., None]
    run: Callable[[Path, dict[str, np.ndarray]], np.ndarray]


def write_onnx(signature, path: Path):
    """Writes ONNX."""
    import tf2onnx

    tf2onnx.convert.from_function(signature, signature.input_signature, opset=OPSET, output_path=str(path))


def run_onnx(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Runs ONNX with onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # Its errors are raised and need not be logged.
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def write_tflite(signature, path: Path):
    """Writes TFLite, of built-in operations alone."""
    import tensorflow as tf

    # Without the object that holds the variables, which makes constants of them; with it they would stay uninitialised.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature.get_concrete_function()])
    path.write_bytes(converter.convert())


def run_tflite(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Runs TFLite with LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    places = {place["name"]: place["index"] for place in interpreter.get_input_details()}
    for name, value in inputs.items():
        interpreter.resize_tensor_input(places[name], value.shape)
    interpreter.allocate_tensors()
    for name, value in inputs.items():
        interpreter.set_tensor(places[name], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


FORMATS = {
    "onnx": GraphFormat(".onnx", ("tf2onnx", "onnxruntime"), write_onnx, run_onnx),
    "tflite": GraphFormat(".tflite", ("ai_edge_litert",), write_tflite, run_tflite),
}
# All formats of exported models.
EXPORT_FORMATS = ("saved_model", *FORMATS)
