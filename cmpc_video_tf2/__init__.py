"""CMPC-V for Keras 3: segmentation of actors and actions in video clips by referring expressions."""

import cmpc_tf2

__all__ = ["load_model"]


def __getattr__(name: str):
    if name == "load_model":
        return cmpc_tf2.load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
