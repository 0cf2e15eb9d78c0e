"""A small model behind the HTTP server, and the page in a browser."""

import numpy as np
import pytest

import cmpc_tf2
from browsing import PATIENCE, launched
from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from cmpc_tf2.serving.uploads import PICTURE_UPLOAD, Example
from http_client import served
from page_driver import app_of, opened, picture
from pictures import file_of


@pytest.fixture(scope="module")
def predictor(small_model):
    return cmpc_tf2.Predictor(small_model)


@pytest.fixture
def segmenter(predictor):
    return Segmenter(predictor, predictor.set_image, Limits(file_bytes=50_000))


@pytest.fixture
def app(segmenter):
    return create_app(segmenter, "small.keras")


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(1000 * PATIENCE)
        yield context


@pytest.fixture(scope="module")
def address(predictor):
    """The address of the page."""
    content = file_of(picture(1))
    examples = [Example("example.png", content, content, ["the square", "blue circle"])]
    with served(app_of(predictor, predictor.set_image, PICTURE_UPLOAD, examples)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def tab(browser, address):
    tab = opened(browser, address)
    yield tab
    tab.close()
    complaints = [text for text in tab.complaints if "server responded with a status of" not in text]
    assert not complaints
    assert all(url.startswith((address, "blob:")) for url in tab.requested)  # It asks no other server.


@pytest.fixture
def reference(predictor):
    """The predictor, after `set_image` of `picture()`."""
    predictor.set_image(np.asarray(picture()))
    return predictor
