"""Sizes of the model, as plain data.

Nothing but the standard library is loaded, so that any command can read it at once.
"""

import dataclasses
import enum
import reprlib
from typing import ClassVar

from cmpc_tf2.fields import FieldError, PositiveNumber, WholeNumber, check_fields, from_dict
from cmpc_tf2.systems import System, systems_of

# Name under which Keras registers our classes.
PACKAGE = "cmpc"
# Token id in front of the first word.
PAD_ID = 0
# Sides of the picture are divided by this to give the grid of cells: stride 2 three times, then dilation.
OUTPUT_STRIDE = 8
# MUTAN's rank: the number of products that are summed.
MUTAN_HEADS = 5
# Backbone taps, shallow to deep.
LEVELS = ("c3", "c4", "c5")
# Parts of the model that can be left out, to see what each of them earns.
ABLATIONS = ("word_types", "relation_graph", "exchange")
# What a model can be exported as.
EXPORT_FORMATS = ("saved_model", "onnx", "tflite")
# What settings of a training run can be.
TRAIN_CHOICES = {
    "rate_scaling": ("none", "linear", "sqrt"),
    "recipe": ("original", "maskris"),
    "precision": ("float32", "bfloat16", "float16"),
    "strategy": ("none", "mirrored", "multiworker"),
}
# Numbers that are not mere counts. The bounds of sizes keep a mistyped one from being built.
_WIDTH = WholeNumber(most=10_000)
RANGES = {
    "image_size": WholeNumber(OUTPUT_STRIDE, 4096, multiple_of=OUTPUT_STRIDE),
    "vocabulary_size": WholeNumber(most=10_000_000),
    "embedding_dim": _WIDTH,
    "feature_dim": _WIDTH,
    "fusion_dim": _WIDTH,
    "word_parser_dim": _WIDTH,
    "max_words": WholeNumber(most=1000),
    "width": WholeNumber(most=1000),
    "depths": WholeNumber(most=1000),
    "batch_size": WholeNumber(most=65_536),
    "learning_rate": PositiveNumber(1000),
    "seed": WholeNumber(0, 2**32 - 1),
}


class WordType(str, enum.Enum):
    """What a word does in a referring expression."""

    ENTITY = "entity"
    ATTRIBUTE = "attribute"
    RELATION = "relation"
    ACTION = "action"
    UNNECESSARY = "unnecessary"


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the DeepLab-ResNet backbone; the defaults are ResNet-101.

    Attributes:
        width: Filters of the first convolution. Stage k (2 to 5) has `width * 2**(k-2)` filters inside its
            bottlenecks and four times as many behind them.
        depths: Bottlenecks in stages 2, 3, 4 and 5.
    """

    width: int = 64
    depths: tuple[int, int, int, int] = (3, 4, 23, 3)

    def __post_init__(self):
        check_fields(self, RANGES)
        allowed, is_list = RANGES["depths"], isinstance(self.depths, (list, tuple))
        if not is_list or len(self.depths) != 4 or not all(depth in allowed for depth in self.depths):
            found = reprlib.repr(self.depths)
            raise FieldError("depths", f"expected a list of four, one per stage, each {allowed}; received {found}")
        object.__setattr__(self, "depths", tuple(self.depths))

    def stage_filters(self, stage: int) -> int:
        """Channels behind stage 2, 3, 4 or 5."""
        return self.width * 2 ** (stage - 2) * 4

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {"width": self.width, "depths": list(self.depths)}


@dataclasses.dataclass(frozen=True)
class ReferringConfig:
    """Sizes that every model has; the defaults are those of the released RRN, RMI and LSTM checkpoints.

    Attributes:
        image_size: Side of the square input in pixels, a multiple of 8. A ConvLSTM's peepholes are bound to it.
        vocabulary_size: Rows of the word embedding table.
        embedding_dim: Width of a word vector.
        feature_dim: Width of visual and language features (the original's `v_emb_dim` and `rnn_size`).
        fusion_dim: Width of fused features and of the ConvLSTM (the original's `mlp_dim`).
        max_words: Word slots of an expression.
        backbone: Sizes of the backbone.
    """

    image_size: int = 320
    vocabulary_size: int = 12112
    embedding_dim: int = 1000
    feature_dim: int = 1000
    fusion_dim: int = 500
    max_words: int = 20
    backbone: BackboneConfig = dataclasses.field(default_factory=BackboneConfig)

    def __post_init__(self):
        if not isinstance(self.backbone, BackboneConfig):
            object.__setattr__(self, "backbone", from_dict(BackboneConfig, self.backbone, "backbone"))
        check_fields(self, RANGES)

    @property
    def grid_size(self) -> int:
        """Cells along one side of the feature maps."""
        return self.image_size // OUTPUT_STRIDE

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {**dataclasses.asdict(self), "backbone": self.backbone.to_dict()}


@dataclasses.dataclass(frozen=True)
class ModelConfig(ReferringConfig):
    """Sizes of CMPC-I; the defaults are those of the released checkpoints.

    Attributes: as `ReferringConfig`, with word vectors of 300 (GloVe), and:
        word_parser_dim: Hidden units of the word-type classifier.
        without: Parts left out, of `ABLATIONS`. Such a model has no counterpart in the original.
    """

    embedding_dim: int = 300
    word_parser_dim: int = 500
    without: tuple[str, ...] = ()

    # The classes of the word parser, in the order of its outputs.
    word_types = (WordType.ENTITY, WordType.ATTRIBUTE, WordType.RELATION, WordType.UNNECESSARY)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.without, (list, tuple)) or not all(part in ABLATIONS for part in self.without):
            found = reprlib.repr(self.without)
            raise FieldError("without", f"expected a list of some of {', '.join(ABLATIONS)}, received {found}")
        object.__setattr__(self, "without", tuple(self.without))

    def to_dict(self) -> dict:
        """As `ReferringConfig.to_dict`."""
        return {**super().to_dict(), "without": list(self.without)}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run: with the batches and start files it names, enough to repeat it.

    Attributes:
        dataset: Name of the dataset.
        split: Its train split.
        batch_root: Folder with `<dataset>/<split>_batch/`.
        model_name: Which system of the task; None for the first of them, or for what `start_model` is.
        model: Sizes of the model.
        start_model: A model to start from; then `model` is its sizes.
        backbone: A backbone to start from (`.keras`).
        embeddings: Word vectors to start from (`.npy`).
        vocabulary: The batches' vocabulary, stored in a new model.
        steps: Training steps in all; 700,000 are those of CMPC on pictures.
        start_optimizer: What Adam was doing when `start_model` was written (`.npz`); the run goes on at its step.
        batch_size: Samples per step, over all devices; the original's is 1.
        accumulate: Parts in which a step computes its batch, one after another, to save memory.
        learning_rate: At step 0, for a batch of 1.
        rate_scaling: How it grows with the batch size: `none`, `linear` or `sqrt`.
        decay_steps: Steps over which the rate falls to 0.00001; None for those of the model's original.
        finetune_backbone: Train the kernels of the backbone's stages 3 to 5 too.
        recipe: `original`, or `maskris` for masked second passes; see `docs/training.md`.
        precision: What the layers compute in: `float32`, `bfloat16` or `float16`. Weights stay float32.
        jit_compile: Compile the step with XLA.
        strategy: `none` for one device, `mirrored` for all of this machine, `multiworker` for several machines.
        validation_split: Scored at every checkpoint; None for no validation.
        checkpoint_every: Steps between checkpoints.
        seed: Of the shuffle, of masks and of initial weights.
    """

    dataset: str
    split: str
    batch_root: str = "."
    model_name: str | None = None
    model: ReferringConfig | None = None
    start_model: str | None = None
    backbone: str | None = None
    embeddings: str | None = None
    vocabulary: str | None = None
    start_optimizer: str | None = None
    steps: int = 700_000
    batch_size: int = 1
    accumulate: int = 1
    learning_rate: float = 0.00025
    rate_scaling: str = "none"
    decay_steps: int | None = None
    finetune_backbone: bool = False
    recipe: str = "original"
    precision: str = "float32"
    jit_compile: bool = False
    strategy: str = "none"
    validation_split: str | None = None
    checkpoint_every: int = 10_000
    seed: int = 0

    # The task whose systems can be trained.
    task: ClassVar[str] = "image"

    def __post_init__(self):
        check_fields(self, RANGES)
        choices = {"model_name": (None, *systems_of(self.task)), **TRAIN_CHOICES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                expected, found = ", ".join(filter(None, allowed)), reprlib.repr(getattr(self, name))
                raise FieldError(name, f"expected one of {expected}, received {found}")
        config = self.system.config_type
        if not isinstance(self.model, ReferringConfig):
            model = from_dict(config, {} if self.model is None else self.model, "model")
            object.__setattr__(self, "model", model)
        if type(self.model) is not config:
            raise FieldError("model", f"expected {config.__name__}, received {type(self.model).__name__}")
        if self.batch_size % self.accumulate:
            raise FieldError(
                "accumulate", f"{self.accumulate} parts do not divide a batch of {self.batch_size} samples"
            )
        if self.jit_compile and self.strategy == "multiworker":
            raise FieldError("jit_compile", "XLA does not compile the steps of several machines")

    @property
    def system(self) -> System:
        """What is trained."""
        systems = systems_of(self.task)
        return systems[self.model_name or next(iter(systems))]

    @property
    def schedule_steps(self) -> int:
        """Steps over which the rate falls."""
        return self.decay_steps or self.system.decay_steps

    @property
    def initial_rate(self) -> float:
        """The learning rate of step 0 at this batch size."""
        factors = {"none": 1, "linear": self.batch_size, "sqrt": self.batch_size**0.5}
        return self.learning_rate * factors[self.rate_scaling]

    def to_dict(self) -> dict:
        """The run as JSON-ready data; `from_dict` restores it."""
        return {**dataclasses.asdict(self), "model": self.model.to_dict()}
