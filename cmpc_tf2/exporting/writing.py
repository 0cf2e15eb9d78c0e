"""Exported models: written and checked, whole or not at all."""

import os
from pathlib import Path

import tensorflow as tf

from cmpc_tf2.errors import InputError, first_line
from cmpc_tf2.exporting.checks import compare_file, compare_saved_model, require_close
from cmpc_tf2.exporting.exported_model import ExportedModel
from cmpc_tf2.exporting.graph_files import GraphFormat
from cmpc_tf2.exporting.model_card import write_card
from cmpc_tf2.files import making_folder, replacing, write_json, write_text
from cmpc_tf2.models.referring_model import ReferringModel


def export_saved_model(model: ReferringModel, target: Path, source: Path) -> tuple[list[str], float]:
    """Writes a SavedModel with `signature.json` and a model card.

    Args:
        model: The model.
        target: A new folder.
        source: The file the model comes from.

    Returns:
        The names of the signatures, and the largest difference to the model's results.

    Raises:
        InputError: It does not run, or gives something else.
    """
    with making_folder(target) as partial:
        signatures = write_saved_model(model, partial)
        difference = compare_saved_model(model, partial)
        require_close(target, difference)
        write_json(partial / "signature.json", signatures)
        write_text(partial / "README.md", write_card(model, source, target.name))
    return list(signatures), difference


def write_saved_model(model: ReferringModel, folder: Path) -> dict:
    """Writes a SavedModel with the signatures of `ExportedModel`.

    Args:
        model: A model, for pictures or clips; with a vocabulary, for raw pictures and sentences too.
        folder: The folder to write.

    Returns:
        For each signature its inputs and outputs: `{"dtype": ..., "shape": [...]}` by name, None for any size.
    """
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


def export_file(
    model: ReferringModel, target: Path, format_name: str, graph_format: GraphFormat, weights: str = "float32"
) -> float:
    """Writes one file of another format.

    Args:
        model: The model.
        target: The file.
        format_name: The format's name, for messages.
        graph_format: The format.
        weights: Type that weights are stored in, one of the format's `writers`.

    Returns:
        The largest difference to the model's results.

    Raises:
        InputError: The format does not support the model, or the file gives something else; with int8, values that are
            not finite.
    """
    signature = ExportedModel(model).signatures()["tensors"]
    with replacing(target) as partial:
        try:
            graph_format.writers[weights](signature, partial)
            difference = compare_file(model, partial, graph_format)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # Converters and runtimes raise almost anything for a graph they do not support.
            option, advice = f"--format {format_name}", "use another --format"
            if weights != "float32":
                option, advice = f"{option} --weights {weights}", f"leave out --weights, or {advice} without it"
            message = f"{target}: {option} does not support {model.title}: {first_line(error)}; {advice}"
            raise InputError(message) from error
        require_close(target, difference, weights)
    return difference
