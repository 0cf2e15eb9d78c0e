"""What the conversions of all formats share: the strict match of a checkpoint and a model.

Every variable of a checkpoint must have a place in the model and the other way round. A name too many, too few or of
another shape stops the conversion before anything is written.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import keras

from cmpc_tf2.conversion.families import Family
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.fields import from_dict
from cmpc_tf2.files import read_json
from cmpc_tf2.models.interface import ReferringInterface
from cmpc_tf2.text.tokenizers import TOKENIZERS


def complete_sizes(family: Family, config, sizes_file: str | None) -> tuple:
    """The sizes of a model, completed by those that its checkpoint does not tell.

    Args:
        family: The family of the checkpoint.
        config: Its sizes; those that the checkpoint does not tell are the usual ones.
        sizes_file: A JSON file with others, by name; None for none.

    Returns:
        The sizes, and the names of those that are assumed.

    Raises:
        InputError: The file cannot be used, or has sizes that the checkpoint tells.
    """
    if not sizes_file:
        return config, family.assumed
    stated, expected = read_json(sizes_file), ", ".join(family.assumed) or "none"
    with named(sizes_file):
        if not isinstance(stated, dict):
            raise InputError(f"expected an object of sizes by name ({expected})")
        names = list(_names_in(stated))
        if unexpected := [name for name in names if name not in family.assumed]:
            raise InputError(f"{unexpected[0]}: expected sizes that the checkpoint does not tell: {expected}")
        config = from_dict(type(config), _merged(config.to_dict(), stated))
    return config, tuple(name for name in family.assumed if name not in names)


def _names_in(sizes: dict, outer: str = "") -> Iterator[str]:
    """Names as in `Family.assumed`."""
    for name, value in sizes.items():
        if isinstance(value, dict) and value:
            yield from _names_in(value, f"{outer}{name}.")
        else:
            yield f"{outer}{name}"


def _merged(sizes: dict, others: dict) -> dict:
    changed = {name: _merged(sizes[name], one) if isinstance(one, dict) else one for name, one in others.items()}
    return {**sizes, **changed}


def new_model(family: Family, config, vocabulary_file: str | None) -> keras.Model:
    """A model whose weights are still to be read.

    Args:
        family: The family of the checkpoint.
        config: Its sizes.
        vocabulary_file: The vocabulary to put into it; None for none.

    Raises:
        InputError: The vocabulary cannot be used, or the model takes none.
    """
    options = {}
    if vocabulary_file:
        if not issubclass(family.system.model_type, ReferringInterface):
            raise InputError(f"--vocabulary: {family.system.model_type.title} has no vocabulary")
        tokenizer_type = TOKENIZERS[family.system.model_type.tokenizer_name]
        options["vocabulary"] = tokenizer_type.read_words(vocabulary_file, config.vocabulary_size)
    return family.system.model_type(config, name=family.name, **options)


def require_match(
    path: str,
    found: dict[str, tuple],
    expected: dict[str, tuple],
    ignorable: tuple,
    problems: Iterable[str] = (),
    stored_names: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Compares the variables of a checkpoint with those that the model needs.

    Args:
        path: Path of the checkpoint, for the message.
        found: Shapes of its variables by name.
        expected: Shapes of the variables that the model needs, by name.
        ignorable: `Family.ignored`.
        problems: What else is wrong with the variables, one line each.
        stored_names: Names in the file of the variables that have another one there, for the message.

    Returns:
        The reason why a variable is not converted, by name.

    Raises:
        InputError: Variables are missing, unexpected, or of another shape or type; the message lists them all.
    """
    reasons = {name: _why_ignored(name, expected, ignorable) for name in sorted(found.keys() - expected.keys())}
    missing = [name for name in expected if name not in found]
    unexpected = [name for name, reason in reasons.items() if reason is None]
    misshapen = [name for name, shape in expected.items() if found.get(name, shape) != shape]
    lines = [f"missing: {name}" for name in missing]
    lines += [f"unexpected: {stored_names.get(name, name)}" for name in unexpected]
    lines += [
        f"wrong shape: {stored_names.get(name, name)} is {list(found[name])}, expected {list(expected[name])}"
        for name in misshapen
    ]
    if lines := [*lines, *problems]:
        counts = f"{len(missing)} missing, {len(unexpected)} unexpected, {len(misshapen)} of another shape"
        heading = f"{path}: does not fit the model ({counts}); nothing was written"
        raise InputError("\n  ".join([heading, *lines]))
    return reasons


def _why_ignored(name: str, converted, ignorable: tuple) -> str | None:
    """The reason why a variable is not converted; None if there is none."""
    for pattern, reason in ignorable:
        if match := re.fullmatch(pattern, name):
            base = match.groupdict().get("base")
            if base is None or base in converted:
                return reason
    return None


def make_report(
    family: Family,
    config,
    places: list[tuple[str, str]],
    shapes: dict,
    reasons: dict,
    step: int | None,
    used: set,
    assumed: Iterable[str] = (),
    stored_names: Mapping[str, str] = MappingProxyType({}),
) -> dict:
    """What became of every variable, ready for JSON.

    Args:
        family: The family of the checkpoint.
        config: Its sizes.
        places: Names of the converted variables and paths of their weights.
        shapes: Shapes of the variables by name.
        reasons: What `require_match` returned.
        step: The training step, if it is known.
        used: Names of the variables that became the state of the optimizer.
        assumed: Names of the sizes that neither the checkpoint nor the user tells.
        stored_names: Names in the file of the variables that have another one there.
    """
    key = family.file_format

    def stored(name: str) -> str:
        return stored_names.get(name, name)

    return {
        "model": family.name,
        "config": config.to_dict(),
        "assumed": list(assumed),
        "converted": [{key: stored(name), "keras": path, "shape": list(shapes[name])} for name, path in places],
        "ignored": [{key: stored(name), "why": reason} for name, reason in reasons.items() if name not in used],
        "missing": [],
        "unexpected": [],
        "step": step,
        "optimizer": sorted(map(stored, used)),
    }
