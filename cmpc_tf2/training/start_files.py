"""Parts of a new model that are loaded from files of their own before the first step."""

import dataclasses
import os

import keras

from cmpc_tf2.backbones.config import SwinConfig
from cmpc_tf2.backbones.windows import resize_bias_table
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import FieldError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.text.bert_encoder import LAYER, BertEncoder
from cmpc_tf2.training.config import TrainConfig

_FIX = "give another file, or a model of its sizes (--sizes)"


def sizes_with_backbone(config: TrainConfig) -> ReferringConfig:
    """The sizes of a run's new model; those of a detector come from its file.

    Raises:
        InputError: The file cannot be used, or there is none.
    """
    model_type = config.system.model_type
    if model_type.detector_type is None:
        return config.model
    if not config.backbone:
        raise FieldError("backbone", f"training of {model_type.title} starts from a detector; give its file")
    return config.model.with_detector(load_model(config.backbone, model_type.detector_type).config)


def language_layers(model: ReferringModel) -> dict[str, keras.Layer]:
    """The layers of the part that depends on the expression, by name; none of two-stage models."""
    decoder = getattr(model, "expression_decoder", None)
    return {layer.name: layer for layer in decoder.layers} if decoder else {}


def load_backbone(model: ReferringModel, path: str | os.PathLike):
    """Loads the backbone of a model.

    A Swin Transformer may have windows of another size: the biases of its relative positions are resized.

    Args:
        model: A model with a backbone.
        path: A `.keras` file with a backbone.

    Raises:
        InputError: The file cannot be used, or its backbone is of another size.
    """
    target = model.get_backbone()
    backbone = load_model(path, type(target))
    found, expected = backbone.config, target.config
    if isinstance(found, SwinConfig):
        found = dataclasses.replace(found, window=expected.window)
    if found != expected:
        raise InputError(f"{path}: its sizes are {backbone.config}, expected {expected}; {_FIX}")
    for variable, value in zip(target.weights, backbone.get_weights(), strict=True):
        is_other_window = variable.shape != value.shape
        variable.assign(resize_bias_table(value, expected.window) if is_other_window else value)


def load_bert(model: ReferringModel, path: str | os.PathLike):
    """Loads the language encoder of a model.

    Args:
        model: The model.
        path: A `.keras` file with a BERT.

    Raises:
        InputError: The model has no BERT, or the file cannot be used, or its BERT is of another size.
    """
    layers = language_layers(model)
    if LAYER not in layers:
        raise InputError(f"--bert: {model.title} has no BERT; leave it out")
    target, encoder = layers[LAYER], load_model(path, BertEncoder)
    if encoder.config != target.config:
        raise InputError(f"{path}: its sizes are {encoder.config}, expected {target.config}; {_FIX}")
    target.set_weights([keras.ops.convert_to_numpy(weight) for weight in encoder.get_layer(LAYER).weights])
