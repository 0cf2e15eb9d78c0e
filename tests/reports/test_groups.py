import numpy as np
import pytest

from cmpc_tf2.reports.expression_words import CLASSES, class_of, split_words
from cmpc_tf2.reports.groups import MOST_VALUES
from made_reports import made_report, make_records


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("the man", "none of these"),
        ("RED shirt", "colour"),
        ("Man on left.", "position"),
        ("the bigger one on the left", "comparison"),
        ("left of the blue square", "relation"),
        ("girl in front of, well, the bus", "relation"),
        ("front of the bus", "position"),
        ("a redhead at the topography", "none of these"),  # Words, not parts of words.
        ("", "none of these"),
    ],
)
def test_words_of_expressions(expression, expected):
    assert class_of(expression) == expected


def test_every_word_of_a_list_gives_its_class_or_an_earlier_one():
    names = list(CLASSES)
    for name, phrases in CLASSES.items():
        for phrase in phrases.split(";"):
            assert class_of(phrase) == name, phrase
    assert names == ["relation", "comparison", "position", "colour"]


def test_words_are_counted_without_punctuation():
    assert split_words("The man's T-shirt, 2nd (left)!") == ["the", "man's", "t-shirt", "2nd", "left"]


@pytest.fixture(scope="module")
def report():
    """48 samples on 12 pictures, with fields of REFER and of own data."""
    rng = np.random.default_rng(1)
    fields = [
        {"ref_id": n, "same_category": 1 + n % 6, "scene": ("day", "night")[n % 2], "shot": n, "tags": ["a"]}
        for n in range(48)
    ]
    del fields[7]["same_category"], fields[7]["scene"]
    return made_report(make_records(rng.beta(2, 1, 48), np.arange(48) // 4), fields)


def test_groups_add_up_to_the_split(report):
    whole = report["plain"]
    for name, criterion in report["groups"].items():
        groups = criterion["groups"].values()
        counts = [group["samples"] for group in groups]
        assert sum(counts) == 48 and min(counts) > 0, name
        means = [group["plain"]["mean_iou"] for group in groups]
        assert np.dot(counts, means) / 48 == pytest.approx(whole["mean_iou"]), name
        shares = [group["own_size"]["precision"]["0.7"] for group in groups]
        assert np.dot(counts, shares) / 48 == pytest.approx(whole["precision"]["0.7"]), name


def test_criteria(report):
    found = {
        name: {group: entry["samples"] for group, entry in criterion["groups"].items()}
        for name, criterion in report["groups"].items()
    }
    assert found["expression_length"] == {"1 to 2": 24, "4 to 5": 8, "8 to 10": 8, "11 or more": 8}
    assert found["expression_words"] == {
        "relation": 8, "comparison": 8, "position": 8, "colour": 8, "none of these": 16,
    }  # fmt: skip
    assert found["same_category"] == {"1": 8, "2": 7, "3": 8, "4 or more": 24, "not given": 1}
    assert found["field scene"] == {"day": 24, "night": 23, "not given": 1}
    areas = [record["area"] / 200 for record in report["per_sample"]]
    edges = np.histogram(areas, [0, 0.03, 0.1, 0.3, 1])[0]
    assert list(found["object_size"].values()) == [count for count in edges if count]
    # Ids, and fields of too many values or of other types than numbers and text, make no groups.
    assert MOST_VALUES < 48 and len(found) == 5


def test_numbers_are_in_order():
    fields = [{"floor": number % 11} for number in range(22)]
    groups = made_report(make_records(np.full(22, 0.5), np.arange(22)), fields)["groups"]["field floor"]["groups"]
    assert list(groups) == [str(number) for number in range(11)]


def test_subsets_of_a_data_set_overlap():
    fields = [{"subsets": names} for names in (["b", "a", "a"], ["a"], [], "a", [3])]
    report = made_report(make_records(np.array([0.2, 0.4, 0.6, 0.8, 1.0]), np.arange(5)), fields)
    entry = report["groups"]["subsets"]
    assert entry["title"] == "Subsets of the data set, which overlap"
    assert {name: group["samples"] for name, group in entry["groups"].items()} == {"a": 2, "b": 1}
    counts = [report["per_sample"][index] for index in (0, 1)]
    expected = sum(one["intersection"] for one in counts) / sum(one["union"] for one in counts)
    assert entry["groups"]["a"]["plain"]["overall_iou"] == pytest.approx(expected)
