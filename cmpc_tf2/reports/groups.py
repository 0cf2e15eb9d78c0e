"""Groups of samples.

Every criterion puts each sample into one group, so that its groups add up to the split. Only the subsets that a data
set defines overlap.
"""

import dataclasses
from collections.abc import Callable, Iterator

from cmpc_tf2.reports.expression_words import CLASSES, OTHER, class_of, split_words

# Upper bounds in words. Most expressions of RefCOCO are short, most of RefCOCOg long, so these serve both.
LENGTHS = {2: "1 to 2", 3: "3", 5: "4 to 5", 7: "6 to 7", 10: "8 to 10"}
LONGEST = "11 or more"
# Upper bounds of the object's share of the picture. COCO's large objects have 96 x 96 pixels or more, which are 3 % of
# a picture of 640 x 480; but pictures differ in size, and most objects that people refer to are large.
SIZES = {0.03: "less than 3 %", 0.1: "3 to 10 %", 0.3: "10 to 30 %"}
LARGEST = "30 % or more"
COUNTS = {1: "1", 2: "2", 3: "3"}
MANY = "4 or more"
NOT_GIVEN = "not given"
# Fields that number things rather than describe them, and one that has a criterion of its own.
_NO_GROUPS = {"image_id", "ref_id", "video_id", "frame_id", "clip", "task_id", "same_category"}
# Fields of own data with more different values than this make no groups.
MOST_VALUES = 12


@dataclasses.dataclass(frozen=True)
class Criterion:
    """A way to group samples.

    Attributes:
        title: The criterion in words.
        order: Names of its groups, in the order in which they are shown.
        group_of: Record of a sample to the name of its group.
    """

    title: str
    order: tuple[str, ...]
    group_of: Callable[[dict], str]


def group_samples(records: list[dict]) -> Iterator[tuple[str, str, dict[str, list[int]]]]:
    """The groups of a split.

    Args:
        records: `per_sample` of a report.

    Yields:
        Name and title of a criterion, and the positions of the samples by group, without empty groups.
    """
    for name, criterion in _criteria(records).items():
        members = {group: [] for group in criterion.order}
        for position, record in enumerate(records):
            members[criterion.group_of(record)].append(position)
        yield name, criterion.title, {group: positions for group, positions in members.items() if positions}
    subsets = {}
    for position, record in enumerate(records):
        for name in _subsets_of(record):
            subsets.setdefault(name, []).append(position)
    if subsets:
        yield "subsets", "Subsets of the data set, which overlap", dict(sorted(subsets.items()))


def _subsets_of(record: dict) -> list[str]:
    names = record.get("fields", {}).get("subsets")
    return list(dict.fromkeys(name for name in names if isinstance(name, str))) if isinstance(names, list) else []


def _criteria(records: list[dict]) -> dict[str, Criterion]:
    """The criteria that the records of a split allow, by name."""
    criteria = {
        "expression_length": Criterion(
            "Expression length in words",
            (*LENGTHS.values(), LONGEST),
            lambda record: _bin(len(split_words(record["expression"])), LENGTHS, LONGEST),
        ),
        "expression_words": Criterion(
            "Words that the expression uses (the first that applies)",
            (*CLASSES, OTHER),
            lambda record: class_of(record["expression"]),
        ),
        "object_size": Criterion("Object size as a share of the picture", (*SIZES.values(), LARGEST), _size_group),
    }
    fields = {name for record in records for name in record.get("fields", {})}
    if "same_category" in fields:
        criteria["same_category"] = Criterion(
            "Annotated objects of the same category in the picture, including this one",
            (*COUNTS.values(), MANY, NOT_GIVEN),
            _count_group,
        )
    for name in sorted(fields - _NO_GROUPS):
        values = [record.get("fields", {}).get(name) for record in records]
        given = [value for value in values if value is not None]
        if all(isinstance(value, (str, int, float)) for value in given) and len(set(given)) <= MOST_VALUES:
            order = dict.fromkeys(str(value) for value in sorted(given, key=lambda one: (isinstance(one, str), one)))
            criteria[f"field {name}"] = Criterion(
                f"Field {name}", tuple({**order, NOT_GIVEN: None}), lambda record, name=name: _value_group(record, name)
            )
    return criteria


def _bin(value: float, bounds: dict[float, str], last: str) -> str:
    """The first bin whose bound the value does not exceed."""
    return next((name for bound, name in bounds.items() if value <= bound), last)


def _size_group(record: dict) -> str:
    height, width = record["size"]
    share = record["area"] / (height * width)
    return next((name for bound, name in SIZES.items() if share < bound), LARGEST)


def _count_group(record: dict) -> str:
    count = record.get("fields", {}).get("same_category")
    return _bin(count, COUNTS, MANY) if isinstance(count, int) else NOT_GIVEN


def _value_group(record: dict, name: str) -> str:
    value = record.get("fields", {}).get(name)
    return NOT_GIVEN if value is None else str(value)
