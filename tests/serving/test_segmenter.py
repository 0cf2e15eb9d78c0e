"""Work for many clients: what stays encoded, and what is refused."""

import pytest
from PIL import Image

from cmpc_tf2.serving.segmenter import Limits, RequestError, read_picture
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
