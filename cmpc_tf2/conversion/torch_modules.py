"""State dicts of whole modules: old checkpoints hold the model as an object, with its classes by name."""

import numpy as np

from cmpc_tf2.conversion.torch_pickle import Module
from cmpc_tf2.errors import InputError

_ADVICE = "save the state dict alone"
# Beginnings of the names of classes whose objects are read, without being imported: PyTorch's, and MAttNet's. The last
# one holds a state of cuDNN that PyTorch could not save.
MODULE_CLASSES = ("torch.nn.", "layers.", "torch.backends.cudnn.rnn.Unserializable")
# No model has as many modules, or as long names.
_MOST_MODULES, _LONGEST_NAME = 10_000, 1000


def state_dict(module: Module) -> dict[str, np.ndarray]:
    """The parameters and buffers of a module and those within it by name, as PyTorch's `state_dict`.

    Raises:
        InputError: It is no module, or one of an unknown form. The message does not name the file.
    """
    found: dict[str, np.ndarray] = {}
    pending, count = [("", module)], 0
    while pending:
        prefix, module = pending.pop()
        count += 1
        # One module can be in many others, which are in many others.
        if count > _MOST_MODULES or len(prefix) > _LONGEST_NAME:
            limits = f"{_MOST_MODULES} modules, or names of more than {_LONGEST_NAME} characters"
            raise InputError(f"holds more than {limits}; {_ADVICE}")
        for name, value in (*_items(prefix, module, "_parameters"), *_items(prefix, module, "_buffers")):
            if value is None:
                continue
            if not isinstance(value, np.ndarray) or name in found:
                problem = "has two tensors" if name in found else f"has a {type(value).__name__}, not a tensor,"
                raise InputError(f"{problem} for {name!r:.80}; {_ADVICE}")
            found[name] = value
        parts = [(f"{name}.", part) for name, part in _items(prefix, module, "_modules") if part is not None]
        pending += reversed(parts)
    return found


def _items(prefix: str, module, key: str) -> list[tuple[str, object]]:
    """The entries of a dict of a module, with their whole names."""
    entries = module.attributes.get(key) if isinstance(module, Module) else None
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        place = f"{prefix.removesuffix('.')!r:.80}" if prefix else "the model"
        raise InputError(f"{place} is no module with {key}; {_ADVICE}")
    return [(f"{prefix}{name}", value) for name, value in entries.items()]
