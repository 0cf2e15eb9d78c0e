"""A training run, as plain data: enough to repeat it."""

import dataclasses
import math
import reprlib
from typing import ClassVar

from cmpc_tf2.fields import COUNT, RANGES, FieldError, check_fields, from_dict
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.systems import System, systems_of

# Name of the file with the configuration of a run.
CONFIG_NAME = "config.json"
# Allowed values of settings.
TRAIN_CHOICES = {
    "rate_scaling": ("none", "linear", "sqrt"),
    "precision": ("float32", "bfloat16", "float16"),
    "strategy": ("none", "mirrored", "multiworker"),
}
# Earlier names of recipes, also in the configurations of earlier runs.
RENAMED_RECIPES = {"maskris": "masked"}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run: with the batches and start files it names, enough to repeat it.

    Attributes:
        dataset: Name of the dataset.
        split: Its train split.
        batch_root: Folder with `<dataset>/<split>_batch/`.
        model_name: Name of a system of the medium; None for the first one, or for that of `start_model`.
        model: Sizes of the model.
        start_model: A model to start from; then `model` is its sizes.
        backbone: A backbone to start from (`.keras`).
        bert: A BERT to start from (`.keras`).
        embeddings: Word vectors to start from (`.npy`).
        vocabulary: The batches' vocabulary, stored in a new model.
        steps: Training steps in all; None for those of the recipe.
        epochs: In place of `steps`: how often every sample is seen, or every object if the recipe takes one expression
            of each.
        start_optimizer: State of Adam when `start_model` was written (`.npz`); the run resumes at its step.
        batch_size: Samples per step, over all devices; None for that of the recipe.
        accumulate: Parts in which a step computes its batch, one after another, to save memory.
        learning_rate: At step 0, for a batch of the recipe's size; None for that of the recipe.
        rate_scaling: How it grows with the batch size: `none`, `linear` or `sqrt`.
        decay_steps: Steps over which the rate falls to its end; None for those of the recipe.
        finetune_backbone: Train kernels of the backbone too (`Backbone.finetuned_variables`).
        recipe: `original`, or another of the system's recipes; see `docs/training.md`.
        precision: Type that layers compute in: `float32`, `bfloat16` or `float16`. Weights stay float32.
        jit_compile: Compile the step with XLA.
        strategy: `none` for one device, `mirrored` for all of this machine, `multiworker` for several machines.
        validation_split: Scored at every checkpoint; None for no validation.
        checkpoint_every: Steps between checkpoints.
        seed: Seed of the shuffle, of masks and of initial weights.
    """

    dataset: str
    split: str
    batch_root: str = "."
    model_name: str | None = None
    model: ReferringConfig | None = None
    start_model: str | None = None
    backbone: str | None = None
    bert: str | None = None
    embeddings: str | None = None
    vocabulary: str | None = None
    start_optimizer: str | None = None
    steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    accumulate: int = 1
    learning_rate: float | None = None
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

    # The medium whose systems can be trained.
    medium: ClassVar[str] = "pictures"

    def __post_init__(self):
        check_fields(self, RANGES)
        object.__setattr__(self, "recipe", RENAMED_RECIPES.get(self.recipe, self.recipe))
        choices = {"model_name": (None, *systems_of(self.medium)), **TRAIN_CHOICES}
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
        is_known = self.model_name or not self.start_model  # Otherwise the start model's file says which system it is.
        if is_known and self.recipe not in self.system.recipes:
            expected, name = ", ".join(self.system.recipes), self.system.name
            raise FieldError("recipe", f"expected one of {expected} for {name}, received {reprlib.repr(self.recipe)}")
        if self.batch_size and self.batch_size % self.accumulate:
            raise FieldError(
                "accumulate", f"{self.accumulate} parts do not divide a batch of {self.batch_size} samples"
            )
        if self.jit_compile and self.strategy == "multiworker":
            raise FieldError("jit_compile", "XLA does not compile the steps of several machines")

    @property
    def system(self) -> System:
        """The system that is trained."""
        systems = systems_of(self.medium)
        return systems[self.model_name or next(iter(systems))]

    def make_recipe(self):
        """The recipe, a `recipes.recipe.Recipe`."""
        return self.system.load_recipe(self.recipe)

    def completed(self) -> "TrainConfig":
        """The run with the numbers that it leaves to the recipe.

        Raises:
            FieldError: The recipe has no choice of what it trains.
        """
        recipe, names = self.make_recipe(), ("steps", "batch_size", "learning_rate")
        if self.finetune_backbone and recipe.backbone_is_trained is not None:
            found = "trains its backbone anyway" if recipe.backbone_is_trained else "never trains its backbone"
            raise FieldError("finetune_backbone", f"{self.system.model_type.title} {found}; leave it out")
        return dataclasses.replace(self, **{name: getattr(self, name) or getattr(recipe, name) for name in names})

    @property
    def initial_rate(self) -> float:
        """The learning rate of step 0 at this batch size. The run is `completed`."""
        ratio = self.batch_size / self.make_recipe().batch_size
        return self.learning_rate * {"none": 1, "linear": ratio, "sqrt": ratio**0.5}[self.rate_scaling]

    def to_dict(self) -> dict:
        """The run as JSON-ready data; `from_dict` restores it."""
        return {**dataclasses.asdict(self), "model": self.model.to_dict()}


def steps_of(epochs: float, samples: int, batch_size: int) -> int:
    """The steps of some epochs, each of so many samples.

    Raises:
        FieldError: They are too many.
    """
    steps = math.ceil(epochs * samples / batch_size)
    if steps not in COUNT:
        raise FieldError("epochs", f"{epochs:g} would be {steps} steps; expected at most {COUNT.most}")
    return steps
