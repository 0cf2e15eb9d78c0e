"""Registers our classes with Keras by their names in model files, without importing Keras or a model."""

import importlib.util
import sys

from cmpc_tf2.systems import SYSTEMS, import_object

# Name under which Keras registers the classes of this package.
PACKAGE = "cmpc"
# The other classes that the file of a compiled model may refer to, by registered name, as `module:name`.
_TRAINING_CLASSES = {
    f"{PACKAGE}>{path.partition(':')[2]}": path
    for path in (
        "cmpc_tf2.recipes.adamw:GroupedAdamW",
        "cmpc_tf2.recipes.adamw:WarmupPolynomialDecay",
        "cmpc_tf2.recipes.losses:SummedCrossEntropy",
        "cmpc_tf2.recipes.losses:WeightedCrossEntropy",
        "cmpc_tf2.recipes.optimizers:BiasDoublingAdam",
        "cmpc_tf2.tasks.masks.keras_metrics:MeanIoU",
        "cmpc_tf2.tasks.masks.keras_metrics:OverallIoU",
    )
}


class _Placeholder:
    """Stands in Keras' registry for a class until its module is imported, which puts the class there.

    Args:
        path: The class, as `module:name`.
    """

    def __init__(self, path: str):
        self.path = path

    def from_config(self, config: dict):
        return import_object(self.path).from_config(config)


def register():
    """Adds our classes to Keras' registry: at once if Keras is imported, otherwise as soon as it is."""
    if "keras" in sys.modules:
        _fill_registry()
    else:
        sys.meta_path.insert(0, _KerasFinder())


def _fill_registry():
    registry = sys.modules["keras"].saving.get_custom_objects()
    models = {system.registered_name: system.model for system in SYSTEMS.values()}
    for registered_name, path in {**models, **_TRAINING_CLASSES}.items():
        registry.setdefault(registered_name, _Placeholder(path))


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
