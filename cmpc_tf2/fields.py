"""Allowed values of the fields of configurations; options of the commands have the same ranges."""

import dataclasses
import os
import reprlib
import types
import typing

from cmpc_tf2.errors import InputError


@dataclasses.dataclass(frozen=True)
class WholeNumber:
    """A range of whole numbers.

    Attributes:
        least: The smallest of them.
        most: The largest of them.
        multiple_of: A common divisor.
    """

    least: int = 1
    most: int = 2**31 - 1
    multiple_of: int = 1

    def __contains__(self, value) -> bool:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and self.least <= value <= self.most and value % self.multiple_of == 0

    def __str__(self) -> str:
        kind = "a whole number" if self.multiple_of == 1 else f"a multiple of {self.multiple_of}"
        return f"{kind} from {self.least} to {self.most}"


@dataclasses.dataclass(frozen=True)
class PositiveNumber:
    """The numbers above 0, up to `most`."""

    most: float

    def __contains__(self, value) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and 0 < value <= self.most

    def __str__(self) -> str:
        return f"a number above 0, at most {self.most:g}"


# Range of whole numbers that count something.
COUNT = WholeNumber()


# Numbers that are not mere counts, by field. The bounds of sizes keep a mistyped one from being built.
RANGES = {
    "image_size": WholeNumber(8, 4096, multiple_of=8),  # The stride of the finest backbone.
    "vocabulary_size": WholeNumber(most=10_000_000),
    **dict.fromkeys(
        ("embedding_dim", "feature_dim", "fusion_dim", "word_parser_dim", "output_dim", "head_dim", "mlp_dim"),
        WholeNumber(most=10_000),
    ),
    **dict.fromkeys(("rpn_dim", "mask_dim", "classes"), WholeNumber(most=10_000)),
    # Of a scaled picture: its shorter side, and the bound of the longer one.
    **dict.fromkeys(("shorter_side", "longer_side"), WholeNumber(most=10_000)),
    **dict.fromkeys(("word_dim", "lstm_units", "joint_dim", "pool5_dim", "fc7_dim"), WholeNumber(most=10_000)),
    **dict.fromkeys(("attributes", "contexts"), WholeNumber(most=1000)),
    **dict.fromkeys(("max_words", "width", "depths", "layers", "decoder_layers", "heads"), WholeNumber(most=1000)),
    **dict.fromkeys(("intermediate", "widths", "output_filters"), WholeNumber(most=10_000)),
    "positions": WholeNumber(most=100_000),
    "prompts": WholeNumber(most=1000),
    **dict.fromkeys(("window", "points"), WholeNumber(most=100)),
    "batch_size": WholeNumber(most=65_536),
    "learning_rate": PositiveNumber(1000),
    "epochs": PositiveNumber(1_000_000),
    "seed": WholeNumber(0, 2**32 - 1),
}


class FieldError(InputError):
    """A field of a configuration has a value that is not allowed.

    Attributes:
        field: Its name, or `outer.inner`; empty for the configuration itself.
        reason: What was expected, and what was found.
    """

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


def check_fields(config, ranges: dict[str, WholeNumber | PositiveNumber]):
    """Checks the fields of a dataclass that are numbers, text, or true or false; others are left to the class.

    Args:
        config: The dataclass.
        ranges: Ranges of numbers by field; whole numbers without one are counts.

    Raises:
        FieldError: One holds something else, or a number out of its range.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kinds = _alternatives(hints[field.name])
        if value is None and type(None) in kinds:
            continue
        if int in kinds or float in kinds:
            expected = ranges.get(field.name, COUNT)
            is_valid = value in expected
        elif bool in kinds:
            expected, is_valid = "true or false", isinstance(value, bool)
        elif str in kinds:
            expected, is_valid = "text on one line", _is_text(value)
        else:
            continue
        if not is_valid:
            raise FieldError(field.name, f"expected {expected}, received {reprlib.repr(value)}")


def _alternatives(hint) -> tuple:
    """The types that an annotation allows: `int | None` allows int and None."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _is_text(value) -> bool:
    """Whether a value is text on one line, without what no file name can hold."""
    if not isinstance(value, str) or any(character < " " for character in value):
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def from_dict(kind: type, data, name: str = ""):
    """Makes a configuration of its `to_dict()`, as it was read from a file.

    Args:
        kind: The configuration's class.
        data: Values by field.
        name: Name of the field that contains it, for messages.

    Raises:
        FieldError: `data` is not a dictionary, lacks a field, has an unknown one, or a value is not allowed.
    """
    try:
        _check_names(kind, data)
        return kind(**data)
    except FieldError as error:
        raise FieldError(".".join(filter(None, (name, error.field))), error.reason) from None


def _check_names(kind: type, data):
    if not isinstance(data, dict):
        raise FieldError("", f"expected an object of values by name, received {reprlib.repr(data)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in data:
        if name not in fields:
            raise FieldError(reprlib.repr(name)[1:-1], f"unknown name; expected some of {', '.join(fields)}")
    for name, field in fields.items():
        if name not in data and field.default is field.default_factory is dataclasses.MISSING:
            raise FieldError(name, "missing")
