"""Models that no test changes are loaded once and made ready for inference once, by all tests of a process."""

import contextlib
import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import keras

from cmpc_tf2.inference.runner import make_runner
from cmpc_tf2.model_files import load_for_inference, read_model

_by_content: dict[tuple, keras.Model] = {}
_unchanged: set[keras.Model] = set()
_make_runner_once = functools.cache(make_runner)


def unchanged(model: keras.Model) -> keras.Model:
    """The model. From now on no test may change its weights, as all runners of it share their graphs."""
    _unchanged.add(model)
    return model


@contextlib.contextmanager
def making_ready_once() -> Iterator[None]:
    """Within the block, commands that do not train load equal files once; each model has one runner."""
    with (
        mock.patch("cmpc_tf2.model_files.load_for_inference", _load_for_inference),
        mock.patch("cmpc_tf2.inference.runner.make_runner", _make_runner),
        mock.patch("cmpc_tf2.inference.predictor.make_runner", _make_runner),
    ):
        yield


def loading_once():
    """A context in which also `load_model` loads equal files once, for code that does not change the model."""

    def load_once(path, described: dict):
        return _once(lambda: read_model(path, described), path, keras.config.dtype_policy().name)

    return mock.patch("cmpc_tf2.model_files.read_model", load_once)


def remember(model: keras.Model, path: Path):
    """Registers the model that a file was saved from, so that `loading_once` need not load it."""
    _by_content[(*_content_of(path), model.dtype_policy.name)] = unchanged(model)


def _load_for_inference(path, precision="float32", image_size=None, medium="pictures"):
    """In place of the function of the same name."""
    return _once(lambda: load_for_inference(path, precision, image_size, medium), path, precision, image_size, medium)


def _make_runner(model):
    """In place of the function of the same name."""
    return _make_runner_once(model) if model in _unchanged else make_runner(model)


def _once(load, path, *options):
    try:
        key = (*_content_of(path), *options)
    except (OSError, KeyError, zipfile.BadZipFile):
        return load()  # Which says what is wrong.
    if key not in _by_content:
        _by_content[key] = unchanged(load())
    return _by_content[key]


def _content_of(path) -> tuple:
    """Checksums of the description and the weights in a model file, without the date."""
    with zipfile.ZipFile(path) as archive:
        return tuple(archive.getinfo(name).CRC for name in ("config.json", "model.weights.h5"))
