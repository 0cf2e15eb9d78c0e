"""The interface of all tokenizers."""

import abc
import os
from typing import ClassVar, NamedTuple

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.vocabulary import read_words


class TokenizedWord(NamedTuple):
    """A word of an expression, as a model reads it.

    Attributes:
        text: The word, normalised as its tokens are.
        is_known: Whether the model knows it.
        slots: The slots of its tokens in the model's inputs.
    """

    text: str
    is_known: bool
    slots: slice


class Tokenizer(abc.ABC):
    """Splits sentences into tokens and numbers them.

    Attributes:
        name: Its name in model files.
        reads_stored_ids: Whether the token ids in `.npz` files are those of this tokenizer; otherwise the stored
            sentence is tokenised.
        inputs: Description of the model's text inputs.
        unit: What a token is, in the plural, for messages.
    """

    name: ClassVar[str]
    reads_stored_ids: ClassVar[bool]
    inputs: ClassVar[str]
    unit: ClassVar[str]

    @classmethod
    def read_words(cls, path: str | os.PathLike, size: int | None = None) -> list[str]:
        """Reads a vocabulary file for this tokenizer.

        Args:
            path: The file.
            size: Words that the model has; None for any number.

        Returns:
            The words by token id.

        Raises:
            InputError: The file is missing, is not text, has another number of words, or lacks the special tokens.
        """
        words = read_words(path, size)
        try:
            cls.require_special_tokens(words)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        return words

    @staticmethod
    @abc.abstractmethod
    def require_special_tokens(words: list[str]):
        """Checks that a vocabulary has the tokens that this tokenizer adds to those of the sentence.

        Raises:
            InputError: One is missing.
        """

    @abc.abstractmethod
    def split(self, expression: str) -> list[str]:
        """All tokens of an expression, in order.

        Raises:
            NoWordsError: The expression has no words.
        """

    @abc.abstractmethod
    def tokens(self, expression: str) -> list[str]:
        """The tokens that the model reads, which are the first ones; as `split`."""

    def describe_truncation(self, expression: str) -> str | None:
        """How many tokens of an expression the model reads, in words; None if it reads all of them.

        Raises:
            NoWordsError: The expression has no words.
        """
        read, given = len(self.tokens(expression)), len(self.split(expression))
        return f"only the first {read} of its {given} {self.unit} count" if read < given else None

    @abc.abstractmethod
    def words(self, expression: str) -> list[TokenizedWord]:
        """The words that the model reads, in order; as `split`."""

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
