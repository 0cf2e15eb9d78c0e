"""Sentences to text inputs of a model. A model file names its tokenizer and contains its vocabulary."""

import abc
from typing import ClassVar

import numpy as np

from cmpc_tf2.text.vocabulary import PAD_ID, NoWordsError, Vocabulary, tokenize


class Tokenizer(abc.ABC):
    """Splits sentences into tokens and numbers them.

    Attributes:
        name: Its name in model files.
        reads_stored_ids: Whether the token ids in `.npz` files are those of this tokenizer; otherwise the stored
            sentence is tokenised.
        inputs: Description of the model's text inputs.
    """

    name: ClassVar[str]
    reads_stored_ids: ClassVar[bool]
    inputs: ClassVar[str]

    @abc.abstractmethod
    def split(self, expression: str) -> list[str]:
        """All tokens of an expression, in order.

        Raises:
            NoWordsError: The expression has no words.
        """

    @abc.abstractmethod
    def tokens(self, expression: str) -> list[str]:
        """The tokens that the model reads, which are the first ones; as `split`."""

    @abc.abstractmethod
    def is_known(self, token: str) -> bool:
        """Whether the model knows a token."""

    @abc.abstractmethod
    def encode(self, expression: str) -> dict[str, np.ndarray]:
        """The model's inputs for one expression by name, without the batch axis.

        Raises:
            NoWordsError: The expression has no words.
        """

    @staticmethod
    @abc.abstractmethod
    def random_inputs(config, lengths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The model's inputs for sentences of random words, with batch size first; no vocabulary is needed.

        Args:
            config: Sizes of the model.
            lengths: Words of each sentence.
            rng: Draws the words.
        """


class WordTokenizer(Tokenizer):
    """Whole words by their number in a vocabulary, padded on the left with 0: CMPC and its ancestors.

    Args:
        words: The words by token id.
        max_words: Word slots of an expression.

    Attributes:
        vocabulary: The words.
    """

    name = "words"
    reads_stored_ids = True
    inputs = "token ids with 0 for padding on the left"

    def __init__(self, words: list[str] | Vocabulary, max_words: int):
        self.vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
        self.max_words = max_words

    def split(self, expression: str) -> list[str]:
        return tokenize(expression)

    def tokens(self, expression: str) -> list[str]:
        return self.split(expression)[: self.max_words]

    def is_known(self, token: str) -> bool:
        return token in self.vocabulary.ids

    def encode(self, expression: str) -> dict[str, np.ndarray]:
        token_ids = self.vocabulary.encode(expression, self.max_words)
        if not token_ids.any():
            raise NoWordsError(expression)
        return {"token_ids": token_ids.astype(np.int32)}

    @staticmethod
    def random_inputs(config, lengths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        token_ids = rng.integers(1, config.vocabulary_size, size=(len(lengths), config.max_words), dtype=np.int32)
        for row, length in zip(token_ids, lengths, strict=True):
            row[: config.max_words - length] = PAD_ID
        return {"token_ids": token_ids}


TOKENIZERS = {tokenizer.name: tokenizer for tokenizer in (WordTokenizer,)}
