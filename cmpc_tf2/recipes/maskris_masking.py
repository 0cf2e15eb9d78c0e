"""Masked pictures and sentences for the second pass of MaskRIS.

Source: `util/aug_mask.py` and `data/dataset_refer_bert.py` of naver-ai/maskris (commit 01b54d5), with the numbers of
`scripts/script.sh`.
"""

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.wordpiece import MASK, SPECIAL_TOKENS

# Side of a patch in pixels.
PATCH = 32
IMAGE_RATIO = 0.75
WORD_RATIO = 0.15
# Of the masked words, the shares that become `[MASK]` or a random word. The others do not change.
MASK_SHARE, RANDOM_SHARE = 0.8, 0.1


def require_whole_patches(image_size: int, patch: int = PATCH):
    """Checks that patches divide a picture.

    Args:
        image_size: Side of the picture in pixels.
        patch: Side of a patch in pixels.

    Raises:
        InputError: They do not.
    """
    if image_size % patch:
        raise InputError(
            f"image_size {image_size}: expected a multiple of {patch} to mask patches of {patch} x {patch} pixels; "
            f"train at {max(1, round(image_size / patch)) * patch}, or without masking (--recipe caris)"
        )


def mask_patches(
    image: np.ndarray, rng: np.random.Generator, patch: int = PATCH, ratio: float = IMAGE_RATIO
) -> np.ndarray:
    """Replaces a fixed share of the patches by the mean colour.

    Args:
        image: float32 `(S, S, 3)`, normalised; left as it is.
        rng: Chooses the patches: those with the smallest draws are kept.
        patch: Side of a patch in pixels.
        ratio: Share of the patches to replace, rounded up.

    Returns:
        A new array of the same shape.

    Raises:
        InputError: The patches do not divide the picture.
    """
    side = len(image)
    require_whole_patches(side, patch)
    cells = side // patch
    kept = np.zeros(cells * cells, bool)
    kept[np.argsort(rng.random(kept.size))[: int(kept.size * (1 - ratio))]] = True
    cell = np.arange(side) // patch
    return image * kept.reshape(cells, cells)[cell[:, None], cell, None]


def mask_words(
    token_ids: np.ndarray, vocabulary: list[str], rng: np.random.Generator, ratio: float = WORD_RATIO
) -> np.ndarray:
    """Distorts some 15% of the words: most become `[MASK]`, some any word of the vocabulary. Special tokens stay.

    Args:
        token_ids: int `(T,)`; left as it is.
        vocabulary: The words by token id.
        rng: Chooses the words: one draw for each slot, then one for each random word.
        ratio: Share of the words to distort.

    Returns:
        A new array of the same shape.
    """
    special_ids = [vocabulary.index(token) for token in SPECIAL_TOKENS]
    draws, masked = rng.random(token_ids.shape), token_ids.copy()
    is_chosen = (draws < ratio) & ~np.isin(token_ids, special_ids)
    share = draws / ratio
    becomes_random = is_chosen & (share >= MASK_SHARE) & (share < MASK_SHARE + RANDOM_SHARE)
    masked[is_chosen & (share < MASK_SHARE)] = vocabulary.index(MASK)
    masked[becomes_random] = rng.integers(len(vocabulary), size=np.count_nonzero(becomes_random))
    return masked
