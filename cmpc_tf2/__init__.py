"""CMPC for TensorFlow 2: segment what an expression refers to.

Heavy modules are imported when `load_model`, `Predictor` or `dataset_from` is used, so that commands answer `--help` at
once.
`keras.models.load_model` reads our files once this package is imported.
"""

from cmpc_tf2.registration import register

__version__ = "0.1.0"
__all__ = ["Predictor", "dataset_from", "load_model"]

register()


def __getattr__(name: str):
    if name == "load_model":
        from cmpc_tf2.model_files import load_model

        return load_model
    if name == "Predictor":
        from cmpc_tf2.inference.predictor import Predictor

        return Predictor
    if name == "dataset_from":
        from cmpc_tf2.data.triples import dataset_from

        return dataset_from
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
