import numpy as np
import pytest

from cmpc_tf2.data.batches import list_batches
from cmpc_tf2.data.pipeline import training_dataset
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.recipes.masking import MaskedCopies, mask_patches, mask_words
from cmpc_tf2.text.vocabulary import Vocabulary
from small import WORDS


@pytest.mark.parametrize("side", [32, 160, 320])
def test_three_of_four_patches_are_hidden(side, rng):
    image = np.ones((side, side, 3), np.float32)
    masked = mask_patches(image, rng)
    assert set(np.unique(masked)) == {0, 1} and (image == 1).all()
    assert (masked == masked[..., :1]).all()
    cells = side * np.arange(10) // 10 + side // 20  # A pixel in the middle of each patch.
    assert masked[cells][:, cells, 0].sum() == 25
    if side == 320:
        patches = masked[..., 0].reshape(10, 32, 10, 32)
        assert (patches == patches[:, :1, :, :1]).all()


def test_words_are_hidden_at_the_rates_of_the_paper(rng):
    words = Vocabulary(["<pad>", "<go>", "<eos>", "<unk>", *(f"w{n}" for n in range(1000))])
    ids = np.full(100_000, 7)
    ids[:1000] = 0
    masked = mask_words(ids, words, rng)
    assert (masked[:1000] == 0).all() and (ids[1000:] == 7).all()
    shares = np.bincount(masked[1000:], minlength=1004) / 99_000
    assert shares[3] == pytest.approx(0.15 * 0.8, abs=0.005)
    assert 1 - shares[3] - shares[7] == pytest.approx(0.15 * 0.1, abs=0.003)
    assert shares[0] == 0


def test_masked_copies_depend_on_the_step_alone(squares):
    """They are the same after a restart, and differ between steps."""
    paths = list_batches(squares, "unc", "train")

    def batches(start, count):
        masked_copies = MaskedCopies(Vocabulary(WORDS))
        stream = training_dataset(paths, 2, Preprocessing(32), seed=3, start_step=start, augmentation=masked_copies)
        return [inputs for inputs, _ in stream.take(count)]

    whole, later = batches(0, 6), batches(4, 2)
    for expected, found in zip(whole[4:], later, strict=True):
        for name in ("image", "masked_image", "token_ids", "masked_token_ids"):
            np.testing.assert_array_equal(found[name], expected[name])
    hidden = [(np.abs(batch["masked_image"]).sum(axis=-1) == 0) for batch in whole]
    assert 0.5 < np.mean(hidden) < 0.9
    assert not all(np.array_equal(hidden[0], other) for other in hidden[1:])
    for batch in whole:
        seen = np.abs(batch["masked_image"]).sum(axis=-1) > 0
        np.testing.assert_array_equal(batch["masked_image"][seen], batch["image"][seen])
