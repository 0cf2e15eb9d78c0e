"""A small model behind the HTTP server."""

import pytest

import cmpc_tf2
from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, Segmenter


@pytest.fixture(scope="module")
def predictor(small_model):
    return cmpc_tf2.Predictor(small_model)


@pytest.fixture
def segmenter(predictor):
    return Segmenter(predictor, predictor.set_image, Limits(file_bytes=50_000))


@pytest.fixture
def app(segmenter):
    return create_app(segmenter, "small.keras")
