"""CMPC for TensorFlow 2: segment what an expression refers to.

A heavy module is imported when one of its names is used, so that commands answer `--help` at once.
`keras.saving.load_model` reads our files once this package is imported.
"""

from cmpc_tf2.registration import register
from cmpc_tf2.systems import import_object

__version__ = "0.1.0"
__all__ = ["MeanIoU", "OverallIoU", "Predictor", "dataset_from", "load_model", "make_trainer"]

_PUBLIC = {
    "MeanIoU": "cmpc_tf2.tasks.masks.keras_metrics:MeanIoU",
    "OverallIoU": "cmpc_tf2.tasks.masks.keras_metrics:OverallIoU",
    "Predictor": "cmpc_tf2.inference.predictor:Predictor",
    "dataset_from": "cmpc_tf2.data.triples:dataset_from",
    "load_model": "cmpc_tf2.model_files:load_model",
    "make_trainer": "cmpc_tf2.training.trainer:make_trainer",
}

register()


def __getattr__(name: str):
    if name in _PUBLIC:
        return import_object(_PUBLIC[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]
