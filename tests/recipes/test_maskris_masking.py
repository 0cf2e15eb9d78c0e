"""The masked inputs of MaskRIS, with the draws of the original, and what they are on average."""

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.recipes.maskris_masking import mask_patches, mask_words
from cmpc_tf2.text.wordpiece import SPECIAL_TOKENS
from original import GOLDEN

# The special tokens have the ids of BERT's vocabulary: 0, and 100 to 103.
VOCABULARY = ["[PAD]", *(f"w{n}" for n in range(99)), *SPECIAL_TOKENS[1:], *(f"v{n}" for n in range(30_418))]


class StoredDraws:
    """Stands for a random generator."""

    def __init__(self, uniform, integers=()):
        self._uniform, self._integers = uniform, integers

    def random(self, shape):
        return self._uniform.reshape(shape)

    def integers(self, most, size):
        assert most == len(VOCABULARY) == 30_522 and size == len(self._integers)
        return self._integers


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "maskris" / "maskris_extras.npz"))


def test_masked_words_equal_the_originals(golden, parity):
    names = ("ids", "masked", "uniform", "replacements")
    rows = zip(*(golden[f"words/{name}"] for name in names), strict=True)
    for number, (token_ids, masked, uniform, replacements) in enumerate(rows):
        draws = StoredDraws(uniform, replacements[replacements >= 0])
        np.testing.assert_array_equal(mask_words(token_ids, VOCABULARY, draws), masked, err_msg=str(number))
    assert (golden["words/masked"] != golden["words/ids"]).sum() > 400
    parity.counted("MaskRIS: sentences with masked words *", "equal", number + 1)


@pytest.mark.parametrize("case", range(4))
def test_masked_patches_equal_the_originals(case, golden, parity):
    noise, kept = golden[f"patches/{case}/noise"], golden[f"patches/{case}/kept"]
    count, size, patch, ratio = golden[f"patches/{case}/settings"]
    assert len(noise) == count
    for draws, expected in zip(noise, kept, strict=True):
        image = np.ones((int(size), int(size), 3), np.float32)
        masked = mask_patches(image, StoredDraws(draws), int(patch), ratio)
        np.testing.assert_array_equal(masked[..., 1], np.kron(expected, np.ones((int(patch), int(patch)))))
        assert masked.dtype == np.float32 and image.all()
    parity.counted("MaskRIS: pictures with masked patches *", "equal", len(noise))


def test_shares_of_words(rng):
    token_ids = np.tile(np.array([101, 7, 8, 9, 102, 0, 0, 0, 0, 0]), 20_000)
    masked = mask_words(token_ids, VOCABULARY, rng)
    is_word = (token_ids > 0) & (token_ids < 100)
    assert np.array_equal(masked[~is_word], token_ids[~is_word])
    changed = masked[is_word] != token_ids[is_word]
    assert changed.mean() == pytest.approx(0.15 * 0.9, abs=0.01)
    assert (masked[is_word][changed] == 103).mean() == pytest.approx(8 / 9, abs=0.02)


def test_patches_are_drawn_anew(rng):
    image = np.ones((64, 64, 3), np.float32)
    first, second = (mask_patches(image, rng) for _ in range(2))
    assert first.mean() == second.mean() == 0.25 and not np.array_equal(first, second)


def test_patches_must_divide_the_picture(rng):
    words = "image_size 440: expected a multiple of 32 to mask patches of 32 x 32 pixels; train at 448, or without"
    with pytest.raises(InputError, match=words):
        mask_patches(np.ones((440, 440, 3), np.float32), rng)
