"""The interface of all models: what files, commands and runners need to know of one."""

from typing import ClassVar

import keras

from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import FieldError
from cmpc_tf2.layers.keras_file_model import KerasFileModel
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.tokenizers import TOKENIZERS, Tokenizer, WordTokenizer
from cmpc_tf2.text.vocabulary import Vocabulary


class ReferringInterface(KerasFileModel):
    """A mixin for `keras.Model`: a model that finds what an expression refers to.

    Attributes:
        config: Sizes.
        vocabulary: The words by token id; None if unknown.
        preprocessing: How pictures become inputs of the model.
        tokenizer_type: Class of its tokenizer.
    """

    # Name of such a model in messages, and the input that pixels go to: `image` or `clip`.
    title: str
    input_name: str
    config_type: ClassVar[type] = ReferringConfig
    tokenizer_name: ClassVar[str] = WordTokenizer.name
    # Protocol by which the original is scored, in `tasks/masks/protocol.py`.
    protocol_name: ClassVar[str] = "rim"
    # What exported models answer, a `exporting.answers.GraphAnswer`, as `module:name`.
    exported_answer: ClassVar[str] = "cmpc_tf2.exporting.answers:MaskAnswer"
    # What differs from the defaults of `Preprocessing`.
    preprocessing_options: ClassVar[dict] = {}
    # Stages of the reasoning, in order, and for each the layers of the decoder whose outputs, `(B, h, w, C)`, show it;
    # no layers if the runner returns the map of the stage itself.
    stages: ClassVar[dict[str, tuple[str, ...]]] = {}
    # The detector that training starts from, a part with files of its own; the field `detector` has its sizes.
    detector_type: ClassVar[type | None] = None
    # Whether training leaves the detector as it is. Checkpoints of the original then do not hold it.
    has_fixed_detector: ClassVar[bool] = False
    # Runs it for inference, a `Runner`, as `module:name`.
    runner: ClassVar[str] = "cmpc_tf2.inference.runner:ModelRunner"

    @classmethod
    def complete(cls, config, tokenizer: str | None) -> tuple[ReferringConfig, str]:
        """Sizes and name of the tokenizer, from what a model file or a caller gives.

        Args:
            config: Sizes; a `config_type` or its `to_dict()`; None for those of the original.
            tokenizer: Name of a tokenizer; None for that of the original.

        Raises:
            TypeError: `config` is of another model.
            ValueError: There is no such tokenizer.
        """
        if not isinstance(config, ReferringConfig):
            config = cls.config_type(**(config or {}))
        if type(config) is not cls.config_type:
            expected, received = cls.config_type.__name__, type(config).__name__
            raise TypeError(f"{cls.title}: expected sizes of type {expected}, received {received}")
        tokenizer = tokenizer or cls.tokenizer_name
        if tokenizer not in TOKENIZERS:
            raise ValueError(f"tokenizer: expected one of {', '.join(TOKENIZERS)}, received {tokenizer!r:.40}")
        return config, tokenizer

    def set_attributes(
        self, config: ReferringConfig, vocabulary: list[str] | None, preprocessing: dict | None, tokenizer: str
    ):
        """Sets the attributes of the class, after `keras.Model.__init__`.

        Args:
            config: Sizes.
            vocabulary: The words by token id.
            preprocessing: `Preprocessing.to_dict()`; None for that of the original.
            tokenizer: Name of the tokenizer.
        """
        self.config = config
        self.vocabulary = None if vocabulary is None else list(vocabulary)
        options = preprocessing or self.preprocessing_options
        self.preprocessing = Preprocessing(config.image_size, frames=config.frames, **options)
        self.tokenizer_type = TOKENIZERS[tokenizer]

    def at_size(self, image_size: int) -> "ReferringInterface":
        """The same weights for pictures of another size, in a new model.

        Args:
            image_size: Side of the pictures in pixels.

        Raises:
            FieldError: The model cannot have this size.
        """
        raise FieldError("image_size", f"{self.title} takes pictures of any size; leave it out")

    def training_form(self) -> keras.Model:
        """The model that training steps run, with the same weights."""
        return self

    def make_tokenizer(self, vocabulary: Vocabulary | list[str] | None = None) -> Tokenizer:
        """The tokenizer of this model.

        Args:
            vocabulary: The words by token id; None for those that were saved with the model.

        Raises:
            InputError: There are none, or there are more or fewer than the model has.
        """
        words = self.vocabulary if vocabulary is None else vocabulary
        if words is None:
            raise InputError("the model holds no vocabulary; give the one it was trained with (--vocabulary FILE)")
        if len(words) != self.config.vocabulary_size:
            raise InputError(
                f"the vocabulary has {len(words)} words, but the model has {self.config.vocabulary_size}; "
                "give the one it was trained with"
            )
        return self.tokenizer_type(words, self.config.max_words)

    def get_config(self):
        return {
            "config": self.config.to_dict(),
            "vocabulary": self.vocabulary,
            "preprocessing": self.preprocessing.to_dict(),
            "tokenizer": self.tokenizer_type.name,
            "name": self.name,
        }
