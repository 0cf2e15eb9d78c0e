"""Masked copies of training samples: the data side of `--recipe masked`.

Source: Lee et al. 2024, arXiv 2411.19067, with the numbers of its released configuration.
"""

import dataclasses

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.recipes.recipe import Augmentation
from cmpc_tf2.text.vocabulary import PAD_ID, UNKNOWN, Vocabulary

# Patches along one side: of 32 pixels at the usual size.
PATCHES = 10
IMAGE_RATIO = 0.75
WORD_RATIO = 0.15
# Of the masked words, the shares that become unknown or a random word. The others do not change.
UNKNOWN_SHARE, RANDOM_SHARE = 0.8, 0.1
# Prefix of the names of masked inputs.
MASKED = "masked_"


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedCopies(Augmentation):
    """Adds a masked copy of every input of a sample, `masked_<name>`.

    Attributes:
        vocabulary: Source of random words.
    """

    vocabulary: Vocabulary

    def names(self, inputs: list[str]) -> dict[str, str]:
        """The added inputs, each with the input whose shape it has."""
        return {f"{MASKED}{name}": name for name in inputs}

    def __call__(self, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The added inputs of a sample: pixels first, then words."""
        pixels = next(name for name in inputs if name != "token_ids")
        return {
            f"{MASKED}{pixels}": mask_patches(inputs[pixels], rng),
            f"{MASKED}token_ids": mask_words(inputs["token_ids"], self.vocabulary, rng),
        }


def masked_pass(inputs: dict) -> dict:
    """The inputs of the masked pass: masked copies in place of those inputs that have one.

    Raises:
        InputError: No input has one.
    """
    if not any(name.startswith(MASKED) for name in inputs):
        raise InputError(
            f"inputs: expected masked copies ({MASKED}token_ids, ...) for this recipe, found {', '.join(inputs)}; "
            "add those of `trainer.recipe.augmentation(model)`, or choose a recipe without masks"
        )
    clean = [name for name in inputs if not name.startswith(MASKED)]
    return {name: inputs.get(MASKED + name, inputs[name]) for name in clean}


def mask_patches(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replaces three of four patches by the mean colour.

    Args:
        image: float32 `(S, S, 3)`, minus the mean; left as it is.
        rng: Chooses the patches.

    Returns:
        A new array of the same shape.
    """
    kept = np.zeros(PATCHES * PATCHES, bool)
    kept[rng.permutation(kept.size)[: round(kept.size * (1 - IMAGE_RATIO))]] = True
    row, column = (np.arange(side) * PATCHES // side for side in image.shape[:2])
    return image * kept.reshape(PATCHES, PATCHES)[row[:, None], column, None]


def mask_words(token_ids: np.ndarray, vocabulary: Vocabulary, rng: np.random.Generator) -> np.ndarray:
    """Distorts some 15% of the words: most become unknown, some become another word. Padding stays.

    Args:
        token_ids: int `(T,)`; left as it is.
        vocabulary: Source of random words.
        rng: Chooses the words.

    Returns:
        A new array of the same shape.
    """
    chance, masked = rng.random(token_ids.shape) / WORD_RATIO, token_ids.copy()
    random_ids = rng.integers(PAD_ID + 1, len(vocabulary), size=token_ids.shape)
    is_word = token_ids != PAD_ID
    becomes_random = is_word & (chance >= UNKNOWN_SHARE) & (chance < UNKNOWN_SHARE + RANDOM_SHARE)
    masked[is_word & (chance < UNKNOWN_SHARE)] = vocabulary.ids[UNKNOWN]
    masked[becomes_random] = random_ids[becomes_random]
    return masked
