import sys

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.tasks.masks.densecrf import load_densecrf, refine_mask


@pytest.fixture
def picture():
    """A picture with a dark left and a bright right half, and probabilities that follow it except for one pixel."""
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, 16:] = 220
    probabilities = np.where(image[..., 0] > 0, 0.9, 0.1).astype(np.float32)
    probabilities[12, 24] = 0.2
    return image, probabilities


@pytest.fixture(autouse=True)
def needs_densecrf(request):
    if "missing" not in request.node.name:
        pytest.importorskip("pydensecrf.densecrf")


def test_noise_is_removed_and_the_edge_kept(picture):
    image, probabilities = picture
    mask = refine_mask(probabilities, image)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, image[..., 0] > 0)


def test_certain_probabilities(picture):
    """Exactly 0 and 1 give an infinite energy in the original."""
    image, probabilities = picture
    mask = refine_mask((probabilities > 0.5).astype(np.float32), image)
    np.testing.assert_array_equal(mask, probabilities > 0.5)
    assert refine_mask(np.ones_like(probabilities), image).all()
    assert not refine_mask(np.zeros_like(probabilities), image).any()


def test_energies_are_those_of_the_original(picture, monkeypatch):
    image, probabilities = picture
    probabilities[0, :4] = [0, 1, 1e-42, 1 - 2**-24]
    calls = {}

    class Recorder:
        def __init__(self, *size):
            calls["size"] = size

        def __getattr__(self, name):
            return lambda *args, **kwargs: calls.update({name: (args, kwargs)}) or np.zeros((2, probabilities.size))

    monkeypatch.setattr(load_densecrf(), "DenseCRF2D", Recorder)
    refine_mask(probabilities, image)
    assert calls["size"] == (32, 24, 2)
    assert calls["addPairwiseGaussian"][1] == {"sxy": 3, "compat": 3}
    bilateral = calls["addPairwiseBilateral"][1]
    assert (bilateral["sxy"], bilateral["srgb"], bilateral["compat"]) == (20, 3, 10)
    assert calls["inference"] == ((5,), {})
    unary = calls["setUnaryEnergy"][0][0]
    assert np.isfinite(unary).all()
    with np.errstate(divide="ignore"):
        expected = -np.log(np.stack([1 - probabilities, probabilities])).reshape(2, -1)
    finite = np.isfinite(expected)
    assert not finite.all()
    np.testing.assert_array_equal(unary[finite], expected[finite])


def test_a_missing_library_is_reported(picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(InputError, match="pip install pydensecrf2"):
        refine_mask(picture[1], picture[0])
