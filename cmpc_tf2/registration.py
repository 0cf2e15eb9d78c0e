"""Makes our models known to Keras by their names in model files, without loading Keras or a model."""

import importlib
import importlib.util
import sys

# By the name under which Keras registers it: the module of a class that stands in model files.
MODULES = {
    "cmpc>CMPC": "cmpc_tf2.models.cmpc",
    "cmpc>RRN": "cmpc_tf2.models.rrn",
    "cmpc>RMI": "cmpc_tf2.models.rmi",
    "cmpc>LSTMBaseline": "cmpc_tf2.models.lstm_baseline",
    "cmpc>DeepLabResNet": "cmpc_tf2.models.backbone",
    "cmpc_video>CMPCVideo": "cmpc_video_tf2.models.cmpc_video",
}


def import_class(registered_name: str) -> type:
    """The class of that name."""
    return getattr(importlib.import_module(MODULES[registered_name]), registered_name.split(">")[1])


class _Placeholder:
    """Stands in Keras' registry for a class until its module is imported, which puts the class there."""

    def __init__(self, registered_name: str):
        self.registered_name = registered_name

    def from_config(self, config: dict):
        return import_class(self.registered_name).from_config(config)


def register():
    """Enters our models into Keras' registry: at once if Keras is loaded, otherwise as soon as it is."""
    if "keras" in sys.modules:
        _fill_registry()
    else:
        sys.meta_path.insert(0, _KerasFinder())


def _fill_registry():
    registry = sys.modules["keras"].saving.get_custom_objects()
    for name in MODULES:
        registry.setdefault(name, _Placeholder(name))


class _KerasFinder:
    """Fills Keras' registry when Keras has been imported, then goes away.

    Keras looks a class of a file up in its registry alone, which does not exist before Keras is loaded; and loading it
    takes seconds, which `--help` does not have. So it takes an import hook.
    """

    def find_spec(self, name: str, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                _fill_registry()

            spec.loader.exec_module = execute_and_register
        return spec
