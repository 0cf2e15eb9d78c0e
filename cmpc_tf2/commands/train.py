"""Trains a model, or resumes a run."""

import argparse
import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

from cmpc_tf2.commands.options import find_batches, number
from cmpc_tf2.data.datasets import dataset_names
from cmpc_tf2.errors import InputError, UsageError, named
from cmpc_tf2.fields import COUNT, RANGES, FieldError, from_dict
from cmpc_tf2.files import read_json, require_folder
from cmpc_tf2.medium import PICTURES, Medium
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.systems import System, systems_of
from cmpc_tf2.training.config import CONFIG_NAME, TRAIN_CHOICES, TrainConfig

logger = logging.getLogger(__name__)

# Attributes of the parsed arguments that are not fields of a run.
_NOT_OF_THE_RUN = {"run", "medium", "output_dir", "resume", "quiet"}


def add_parser(commands, medium: Medium):
    """Adds the `train` command."""
    train = commands.add_parser(
        "train", help="train a model; with --resume, resume a run", argument_default=argparse.SUPPRESS
    )
    train.set_defaults(run=run, medium=medium)
    train.add_argument("--output-dir", type=Path, required=True, metavar="DIR", help="checkpoints, log, config.json")
    train.add_argument("--resume", action="store_true", default=False, help="resume the run in DIR, by its config.json")
    _add_data_and_model(train, medium)
    _add_schedule(train, medium)
    _add_computing(train)


def _add_data_and_model(train: argparse.ArgumentParser, medium: Medium):
    train.add_argument("-d", "--dataset", help=f"{dataset_names(medium.datasets)}, or your own")
    train.add_argument("-t", "--split", help="train, trainval")
    train.add_argument("--batch-root", type=Path, help="folder with DATASET/SPLIT_batch/ (default: .)")
    train.add_argument("--model-name", choices=medium.system_names, help="of a new model (default: the first)")
    for name, choices in medium.size_options.items():
        train.add_argument(_option(name), choices=choices, help=f"of a new model (default: {choices[0]})")
    train.add_argument("--model", dest="start_model", type=Path, metavar="FILE.keras", help="start from this model")
    train.add_argument("--backbone", type=Path, metavar="FILE.keras", help="start from this converted backbone")
    train.add_argument("--bert", type=Path, metavar="FILE.keras", help="start from this converted BERT")
    train.add_argument("--embeddings", type=Path, metavar="FILE.npy", help="start from these word vectors")
    train.add_argument("--vocabulary", type=Path, metavar="FILE", help="the batches' vocabulary, stored in the model")
    train.add_argument("--sizes", type=Path, metavar="FILE.json", help="sizes of the model, if not the usual")
    train.add_argument(
        "--optimizer",
        dest="start_optimizer",
        type=Path,
        metavar="FILE.npz",
        help="with --model: resume with this state of its optimizer, at its step",
    )


def _add_schedule(train: argparse.ArgumentParser, medium: Medium):
    length = train.add_mutually_exclusive_group()
    length.add_argument("--steps", type=number(COUNT), help="in all (default: as the recipe)")
    length.add_argument(
        "--epochs",
        type=number(RANGES["epochs"]),
        help="in place of --steps: how often every sample, or by some recipes every object, is seen",
    )
    train.add_argument(
        "-bs",
        "--batch-size",
        type=number(RANGES["batch_size"]),
        help="samples per step, over all devices (default: as the recipe)",
    )
    train.add_argument(
        "--accumulate", type=number(COUNT), metavar="PARTS", help="compute a batch in parts, to save memory"
    )
    train.add_argument(
        "-lr",
        "--learning-rate",
        type=number(RANGES["learning_rate"]),
        help="at step 0, for a batch of the recipe's size (default: as the recipe)",
    )
    train.add_argument(
        "--rate-scaling",
        choices=TRAIN_CHOICES["rate_scaling"],
        help="multiply the rate by the batch size over that of the recipe, or the root of it (default: none)",
    )
    train.add_argument(
        "--decay-steps", type=number(COUNT), help="until the rate is at its end (default: as the recipe)"
    )
    train.add_argument(
        "--finetune-backbone",
        action="store_true",
        help="train kernels of the backbone too: res3 to res5 (CMPC's -conv5), Mixed_3b to Mixed_5c of I3D; MaskRIS is "
        "trained whole",
    )
    names = dict.fromkeys(name for system in systems_of(medium.name).values() for name in system.recipes)
    train.add_argument("--recipe", metavar="NAME", help=f"a recipe of the model: {', '.join(names)}")


def _add_computing(train: argparse.ArgumentParser):
    train.add_argument(
        "--precision",
        choices=TRAIN_CHOICES["precision"],
        help="of most layers; norms, softmaxes, what follows the levels, losses and weights stay float32",
    )
    train.add_argument("--jit-compile", action="store_true", help="compile the step with XLA")
    train.add_argument(
        "--strategy",
        choices=TRAIN_CHOICES["strategy"],
        help="all devices of this machine, or the machines in TF_CONFIG (default: none)",
    )
    train.add_argument("--validation-split", metavar="SPLIT", help="scored at every checkpoint; the best model is kept")
    train.add_argument("--checkpoint-every", type=number(COUNT), metavar="STEPS", help="(default: 10000)")
    train.add_argument("--seed", type=number(RANGES["seed"]), help="(default: 0)")


def run(arguments: argparse.Namespace):
    """The `train` command: everything cheap is checked before TensorFlow is loaded."""
    folder, medium = arguments.output_dir, arguments.medium
    require_folder(folder)
    config_path = folder / CONFIG_NAME
    given = sorted(set(vars(arguments)) - _NOT_OF_THE_RUN)
    vocabulary = None
    if arguments.resume:
        if given:
            raise UsageError(f"--resume goes by {config_path}; leave out {', '.join(map(_option, given))}")
        config = read_config(config_path, medium)
    else:
        if config_path.exists():
            raise InputError(f"{folder}: holds a run already; --resume resumes it")
        require_consistent(given, medium)
        if "vocabulary" in given:
            from cmpc_tf2.text.tokenizers import TOKENIZERS

            tokenizer_type = TOKENIZERS[_system_of(arguments).model_type.tokenizer_name]
            vocabulary = tokenizer_type.read_words(arguments.vocabulary)
        config = make_config(arguments, None if vocabulary is None else len(vocabulary))
    place = (config.batch_root, config.dataset)
    if config.model_name:  # Otherwise the file of the model that the run starts from says which samples it needs.
        medium = medium.of_system(config.system)
    paths = find_batches(*place, config.split, medium, lambda: builder_options(config, medium, arguments.resume))[1]
    validation_paths = find_batches(*place, config.validation_split, medium)[1] if config.validation_split else []

    from cmpc_tf2.training.run import train

    with _naming_options(), _naming_last_checkpoint(folder):
        entry = train(config, folder, paths, validation_paths, vocabulary, resume=arguments.resume, medium=medium)
    if entry is not None:
        last = folder / "last.keras"
        more = f"all taken before; to train on, start a new run with --model {last}"
        loss = f"loss {entry['loss']:.4g}" if entry else more
        print(f"{last}: {read_config(config_path, medium).steps} steps, {loss}")


@contextlib.contextmanager
def _naming_last_checkpoint(folder: Path) -> Iterator[None]:
    """Within the block, an interruption says where `--resume` continues."""
    from cmpc_tf2.training.checkpoints import find_checkpoints

    try:
        yield
    except KeyboardInterrupt:
        if (folder / CONFIG_NAME).is_file() and (steps := find_checkpoints(folder / "checkpoints")):
            logger.warning("%s: last checkpoint: step %d; --resume continues there", folder, max(steps))
        raise


def builder_options(config: TrainConfig, medium: Medium, resume: bool) -> list[str]:
    """The options by which the builder makes the train split of a run.

    Raises:
        InputError: The run starts from a model file that cannot be used.
    """
    from cmpc_tf2.preprocessing.preprocessing import Preprocessing

    if config.start_model and not resume:  # Only the file says which model it is.
        from cmpc_tf2.model_files import load_model

        preprocessing = load_model(config.start_model, *medium.model_types.values()).preprocessing
    else:
        options = config.system.model_type.preprocessing_options
        preprocessing = Preprocessing(config.model.image_size, frames=config.model.frames, **options)
    return medium.sample_type.build_options(preprocessing)


def read_config(path: Path, medium: Medium = PICTURES) -> TrainConfig:
    """Reads the `config.json` of a run.

    Raises:
        InputError: It is missing or of another form.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; there is no run to resume")
    content = read_json(path)
    with named(path, "; put back the file that the run was started with"):
        return from_dict(medium.train_config, content)


def require_consistent(given: list[str], medium: Medium):
    """Checks that the options that start a run go together.

    Raises:
        UsageError: They do not.
    """
    given = set(given)
    if not {"dataset", "split"} <= given:
        raise UsageError("-d and -t are needed to start a run")
    of_model = {"backbone", "bert", "embeddings", "vocabulary", "sizes", *medium.size_options}
    if "start_model" in given and of_model & given:
        raise UsageError("--model brings backbone, BERT, word vectors, vocabulary and sizes; give it alone")
    if "start_optimizer" in given and "start_model" not in given:
        raise UsageError("--optimizer goes with the --model that was converted beside it")
    if "start_optimizer" in given and "epochs" in given:
        raise UsageError("--optimizer resumes at its step: say with --steps where to end")


def make_config(arguments: argparse.Namespace, vocabulary_size: int | None) -> TrainConfig:
    """The run that the options describe.

    Args:
        arguments: The parsed options.
        vocabulary_size: Words that a new model knows; None for as many as usual.

    Raises:
        InputError: The file of sizes cannot be used.
        UsageError: An option has a value that it cannot have.
    """
    medium = arguments.medium
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    chosen = {name: options[name] for name in medium.size_options if name in options}
    if vocabulary_size:
        chosen["vocabulary_size"] = vocabulary_size
    system = _system_of(arguments)
    model = read_sizes(system.config_type, options.get("sizes"), chosen, stored_words=not system.samples)
    fields = {field.name for field in dataclasses.fields(medium.train_config)}
    options = {name: value for name, value in options.items() if name in fields}
    with _naming_options():
        return medium.train_config(**{**options, "model": model})


@contextlib.contextmanager
def _naming_options() -> Iterator[None]:
    """Within the block, errors that concern a field of a run name the option that sets it."""
    try:
        yield
    except FieldError as error:
        raise UsageError(f"{_option(error.field)}: {error.reason}") from None


def _system_of(arguments: argparse.Namespace) -> System:
    """The system of a new model."""
    systems = systems_of(arguments.medium.name)
    return systems[getattr(arguments, "model_name", next(iter(systems)))]


def _option(name: str) -> str:
    """The option that sets a field of a run or of a model."""
    return {"start_model": "--model", "start_optimizer": "--optimizer"}.get(name, f"--{name.replace('_', '-')}")


def read_sizes(
    config_type: type[ReferringConfig], path: str | None, chosen: dict, stored_words: bool = True
) -> ReferringConfig:
    """The sizes of a new model.

    Args:
        config_type: Its configuration's class.
        path: A JSON file that says which are not the usual ones; None if all are.
        chosen: Sizes by name that options set; the number of words is that of the vocabulary.
        stored_words: Require as many word slots as the batches have.

    Raises:
        InputError: The file cannot be read, or has other names or values than sizes have.
        UsageError: The vocabulary does not fit the other sizes.
    """
    from cmpc_tf2.text.vocabulary import MAX_WORDS

    sizes = read_json(path) if path else {}
    if isinstance(sizes, dict):
        sizes = {**sizes, **chosen}
    with named(path or "sizes of the model"):
        try:
            model = from_dict(config_type, sizes)
        except FieldError as error:
            if not error.field.endswith("vocabulary_size"):
                raise
            raise UsageError(
                f"--vocabulary: {chosen['vocabulary_size']} words do not fit the {path or 'usual sizes'}: {error}; "
                "give the vocabulary of the model, or other sizes (--sizes)"
            ) from None
        if stored_words and model.max_words != MAX_WORDS:
            raise FieldError("max_words", f"expected {MAX_WORDS} as in the batches, received {model.max_words}")
        return model
