"""SL-Att. and CG-SL-Att. for Keras 3: a box for a referring expression, in pictures and in clips."""

import cmpc_tf2

__all__ = ["load_model"]


def __getattr__(name: str):
    if name == "load_model":
        return cmpc_tf2.load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
