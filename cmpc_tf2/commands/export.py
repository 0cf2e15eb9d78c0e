"""Writes a model in a format that runs without this project, and checks that it does."""

import argparse
import importlib.util
import logging
from pathlib import Path

from cmpc_tf2.commands.options import add_json, add_model, print_result
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.exporting.graph_files import EXPORT_FORMATS, FORMATS, WEIGHT_TYPES, GraphFormat
from cmpc_tf2.files import require_new_folder, require_writable
from cmpc_tf2.medium import Medium

logger = logging.getLogger(__name__)


def add_parser(commands, medium: Medium):
    """Adds the `export` command."""
    export = commands.add_parser("export", help="write a model that runs without this project")
    export.set_defaults(run=run, medium=medium)
    add_model(export)
    export.add_argument("--output", type=Path, required=True, help="a new folder, or FILE.onnx, FILE.tflite")
    export.add_argument(
        "--format",
        choices=EXPORT_FORMATS,
        default="saved_model",
        help="saved_model takes picture files and sentences; the others take tensors",
    )
    export.add_argument(
        "--weights",
        choices=WEIGHT_TYPES,
        default="float32",
        help="type that weights are stored in; int8 makes the file smaller and less exact, with --format tflite only",
    )
    add_json(export)


def run(arguments: argparse.Namespace):
    """The `export` command: everything cheap is checked before the model is loaded."""
    target, format_name, weights = arguments.output, arguments.format, arguments.weights
    graph_format = FORMATS.get(format_name)
    if weights not in (graph_format.writers if graph_format else ("float32",)):
        supporting = " or ".join(name for name, one in FORMATS.items() if weights in one.writers)
        raise UsageError(f"--weights {weights}: expected --format {supporting}, received {format_name}")
    if graph_format:
        require_format(target, format_name, graph_format)
        require_writable(target, others=[arguments.model])
    else:
        require_new_folder(target)

    from cmpc_tf2.exporting.writing import export_file, export_saved_model
    from cmpc_tf2.model_files import load_model
    from cmpc_tf2.models.referring_model import ReferringModel

    model = load_model(arguments.model, *arguments.medium.model_types.values())
    if not isinstance(model, ReferringModel):
        raise InputError(
            f"{arguments.model}: {model.title} pastes masks outside of the graph and cannot be exported; use predict, "
            "serve or cmpc_tf2.Predictor"
        )
    if graph_format:
        signatures, written = ["tensors"], "" if weights == "float32" else f"weights in {weights}; "
        difference = export_file(model, target, format_name, graph_format, weights)
    else:
        if model.vocabulary is None:
            logger.warning("%s holds no vocabulary: exporting the signature `tensors` alone", arguments.model)
        signatures, difference = export_saved_model(model, target, arguments.model)
        written = f"{', '.join(signatures)}; "
    text = f"{target}: {written}largest difference to {arguments.model}: {difference:.1e}"
    result = {"output": str(target), "format": format_name, "weights": weights, "signatures": signatures}
    print_result(arguments, text, {**result, "largest_difference": float(difference)})


def require_format(target: Path, format_name: str, graph_format: GraphFormat):
    """Checks a file's name, and that the packages of its format are installed.

    Raises:
        InputError: It has another suffix, or a package is missing.
    """
    if target.suffix != graph_format.suffix:
        raise InputError(f"{target}: expected a name that ends in {graph_format.suffix}")
    missing = [name for name in graph_format.needs if importlib.util.find_spec(name) is None]
    if missing:
        packages = ", ".join(missing)
        raise InputError(f"--format {format_name} needs {packages}: `pip install '.[{format_name}]'`")
