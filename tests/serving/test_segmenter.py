"""Work for many clients: pictures that stay encoded, and limits."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, RequestError, Segmenter
from cmpc_tf2.serving.uploads import read_picture
from http_client import ask, form, picture
from pictures import DAMAGED_METADATA, HEIGHT, WIDTH, file_of


@pytest.mark.parametrize("name", DAMAGED_METADATA)
def test_pictures_with_damaged_metadata_are_read(name):
    content, is_turned = DAMAGED_METADATA[name]
    assert read_picture(content, Limits()).shape == ((WIDTH, HEIGHT, 3) if is_turned else (HEIGHT, WIDTH, 3))


def test_a_picture_that_takes_too_much_memory_is_refused(monkeypatch):
    def fail(*_):
        raise MemoryError

    content = file_of(Image.new("L", (20, 20)))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(RequestError, match=r"image: .* more memory than there is") as raised:
        read_picture(content, Limits())
    assert raised.value.status == 422


def test_the_last_pictures_stay_encoded(predictor):
    encoded = []

    def set_image(pixels):
        encoded.append(pixels)
        predictor.set_image(pixels)

    predictor.set_image(np.zeros((60, 90, 3), np.uint8))
    room_for_two = Limits(encoding_bytes=2 * predictor.encoded.size_in_bytes)
    app = create_app(Segmenter(predictor, set_image, room_for_two), "small.keras")
    first, second, third = (picture(seed) for seed in range(3))
    for image, count in ((first, 1), (first, 1), (second, 2), (first, 2), (third, 3), (first, 3), (second, 4)):
        ask(app, form("man", image=image))
        assert len(encoded) == count


def test_the_last_picture_stays_encoded_even_if_it_is_large(predictor):
    app = create_app(Segmenter(predictor, predictor.set_image, Limits(encoding_bytes=1)), "small.keras")
    first, second = picture(0), picture(1)
    encoded = []
    for image in (first, second, second):
        ask(app, form("man", image=image))
        encoded.append(predictor.encoded)
    assert encoded[0] is not encoded[1] and encoded[1] is encoded[2]


def test_one_map_at_a_time_takes_memory(app):
    """16 float32 maps of the picture's size would be 64 MB; the picture itself, in float32, is 12 MB."""
    image = file_of(Image.new("RGB", (1000, 1000)))
    ask(app, form("the man"))
    tracemalloc.start()
    for mask_format in ("rle", "png", "probabilities"):
        (answer,) = ask(app, form(*["the man"] * 16, image=image, mask_format=mask_format))
        assert answer.status_code == 200
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


def test_pixels_times_expressions_are_limited(predictor):
    limits = Limits(marked_pixels=2 * 90 * 60)
    app = create_app(Segmenter(predictor, predictor.set_image, limits), "small.keras")
    largest, above = ask(app, form("the man", "man"), form("the man", "man", "red circle"))
    assert largest.status_code == 200 and above.status_code == 413
    assert "at most 10800 pixels over all expressions, found 90 x 60 for each of 3; send fewer" in above.text
