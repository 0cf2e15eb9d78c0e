"""Registers our models with Keras by their names in model files, without importing Keras or a model."""

import importlib.util
import sys

from cmpc_tf2.systems import SYSTEMS, System

# Name under which Keras registers the classes of this package.
PACKAGE = "cmpc"


class _Placeholder:
    """Stands in Keras' registry for a class until its module is imported, which puts the class there."""

    def __init__(self, system: System):
        self.system = system

    def from_config(self, config: dict):
        return self.system.model_type.from_config(config)


def register():
    """Adds our models to Keras' registry: at once if Keras is imported, otherwise as soon as it is."""
    if "keras" in sys.modules:
        _fill_registry()
    else:
        sys.meta_path.insert(0, _KerasFinder())


def _fill_registry():
    registry = sys.modules["keras"].saving.get_custom_objects()
    for system in SYSTEMS.values():
        registry.setdefault(system.registered_name, _Placeholder(system))


class _KerasFinder:
    """Fills Keras' registry when Keras has been imported, then removes itself.

    Keras looks up the class of a file in its registry only, which does not exist before Keras is imported. Importing
    Keras takes seconds, which is too long for `--help`. Hence the import hook.
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
