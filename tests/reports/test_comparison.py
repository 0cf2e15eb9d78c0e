"""Comparisons of reports."""

import json

import numpy as np
import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.reports.comparison import compare_reports, format_comparison, label_of
from made_reports import made_report, make_records

PICTURES = np.arange(300) // 3


@pytest.fixture(scope="module")
def ious():
    """300 samples on 100 pictures that differ much in difficulty."""
    rng = np.random.default_rng(2)
    return np.clip(rng.beta(2, 2, 100)[PICTURES] + rng.normal(0, 0.02, 300), 0, 0.9)


@pytest.fixture(scope="module")
def reports(ious):
    """A model, and one that is better by 0.05."""
    return [
        made_report(make_records(ious, PICTURES), protocol="original, rim included"),
        made_report(make_records(ious + 0.05, PICTURES), model="b.keras", protocol="original, at the model's size"),
    ]


def test_a_model_does_not_differ_from_itself(reports):
    (difference,) = compare_reports([reports[0], reports[0]])["differences"]
    assert difference["mean_iou"] == 0 and difference["intervals"]["mean_iou"] == [0, 0]
    assert difference["overall_iou"] == 0 and difference["intervals"]["overall_iou"] == [0, 0]
    assert (difference["wins"], difference["losses"], difference["ties"]) == (0, 0, 300)


def test_a_known_difference_is_found(reports):
    """The intervals of the scores overlap, that of the difference is far from 0 and contains the truth."""
    comparison = compare_reports(reports)
    first, second = (model["intervals"]["mean_iou"] for model in comparison["models"])
    assert first[1] > second[0]
    (difference,) = comparison["differences"]
    low, high = difference["intervals"]["mean_iou"]
    assert 0.04 < low < 0.05 < high < 0.06
    assert difference["mean_iou"] == pytest.approx(
        comparison["models"][1]["mean_iou"] - comparison["models"][0]["mean_iou"]
    )
    assert difference["losses"] == 0 and difference["wins"] > 250


def test_differences_are_on_the_same_pictures(reports):
    """Drawn apart, the models would differ by chance: the paired interval is a small part of that one."""
    comparison = compare_reports(reports)
    widths = [np.ptp(model["intervals"]["mean_iou"]) for model in comparison["models"]]
    assert np.ptp(comparison["differences"][0]["intervals"]["mean_iou"]) < 0.2 * np.hypot(*widths)


def test_chance_is_not_taken_for_a_difference(ious):
    rng = np.random.default_rng(8)
    noisy = [np.clip(ious + rng.normal(0, 0.1, 300), 0, 1) for _ in range(2)]
    reports = [made_report(make_records(one, PICTURES)) for one in noisy]
    low, high = compare_reports(reports)["differences"][0]["intervals"]["mean_iou"]
    assert low < 0 < high


def test_boxes_that_all_models_choose_are_compared(ious, tmp_path, capsys):
    """One model chooses among annotated boxes too, which is not compared."""
    rng, reports = np.random.default_rng(4), []
    for names, share in ((("given_box", "detected_box"), 0.5), (("detected_box",), 0.9)):
        records = make_records(ious, PICTURES)
        for record in records:
            record |= {name: bool(rng.random() < share) for name in names}
        reports.append(made_report(records))
    assert set(reports[0]["boxes"]) == {"given_boxes", "detected_boxes", "intervals"}
    low, high = reports[1]["boxes"]["intervals"]["detected_boxes"]
    assert 0.8 < low < 0.9 < high < 1
    for criterion in reports[0]["groups"].values():
        assert all("detected_boxes" in group["boxes"] for group in criterion["groups"].values())
    comparison = compare_reports(reports)
    (difference,), shares = comparison["differences"], [model["detected_boxes"] for model in comparison["models"]]
    assert shares == [report["boxes"]["detected_boxes"] for report in reports]
    assert difference["detected_boxes"] == pytest.approx(shares[1] - shares[0])
    low, high = difference["intervals"]["detected_boxes"]
    assert 0.25 < low < difference["detected_boxes"] < high < 0.55
    assert "given_boxes" not in difference and difference["ties"] == 300
    (line,) = (line for line in format_comparison(comparison).splitlines() if line.startswith("right box of the"))
    assert line.startswith("right box of the detected ones") and f"{shares[0]:.4f} [" in line
    files = [tmp_path / name for name in ("a.json", "b.json")]
    for file, report in zip(files, reports, strict=True):
        file.write_text(json.dumps(report))
    assert main(["compare", *map(str, files), "--html", str(tmp_path / "page.html")]) == 0
    assert "right box of the detected ones" in (tmp_path / "page.html").read_text()
    reports[1]["per_sample"][3]["detected_box"] = 1
    files[1].write_text(json.dumps(reports[1]))
    assert main(["compare", *map(str, files)]) == 1
    assert "b.json: not a report of this version of `evaluate`: expected true or false for detected_box, found 1" in (
        capsys.readouterr().err
    )


def test_groups_add_up_for_wins(reports):
    comparison = compare_reports(reports)
    whole = comparison["differences"][0]
    for criterion in comparison["groups"].values():
        found = [group["differences"][0] for group in criterion["groups"].values()]
        for name in ("wins", "losses", "ties"):
            assert sum(entry[name] for entry in found) == whole[name]


def test_the_command_on_reports(reports, tmp_path, capsys):
    files = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for file, report in zip(files, [*reports, reports[0]], strict=True):
        file.write_text(json.dumps(report))
    outputs = ["--report", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    assert main(["compare", *map(str, files), *outputs]) == 0
    comparison = json.loads((tmp_path / "out.json").read_text())
    assert [entry["label"] for entry in comparison["differences"]] == ["B", "C"]
    assert comparison["differences"][1]["mean_iou"] == 0
    assert comparison["measure"] == "own_size"
    text, log = capsys.readouterr()
    assert text == format_comparison(comparison) + "\n"
    assert log.splitlines() == [f"written: {path}" for path in outputs[1::2]]
    assert "IoU of a sample is higher than A's by at least 0.01; loss: lower by at least 0.01" in text
    assert "masks as predict gives them, at the picture's own size" in text and "B - A" in text
    assert main(["compare", *map(str, files), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == comparison
    page = (tmp_path / "out.html").read_text()
    assert page.count("<figure") == 300 and "<img" not in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "c.json", "out.html", "out.json"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"split": "testA"}, "a.keras and b.keras: scored on unc val and on unc testA; score both on the same split"),
        ({"per_sample": slice(1, None)}, "scored on different samples, first number 0; score both on the same files"),
        ({"expression": "another"}, "scored on different samples, first number 4; score both on the same files"),
        ({"own_size": None}, "not a report of this version of `evaluate`: expected an object for own_size, found null"),
        ({"own_size": {"precision": {}}}, "expected precision by IoU thresholds from 0.01 to 0.99; write it again"),
        ({"own_size": {"precision": {"best": 1}}}, "expected precision by IoU thresholds from 0.01 to 0.99"),
        ({"per_sample": []}, "expected samples in per_sample, found none; write it again with `evaluate --report`"),
    ],
)
def test_reports_that_do_not_go_together(change, words, reports, tmp_path, capsys):
    first, second = json.loads(json.dumps(reports))
    if "expression" in change:
        second["per_sample"][4] |= change
    elif isinstance(change.get("per_sample"), slice):
        second["per_sample"] = second["per_sample"][change["per_sample"]]
    else:
        second |= change
    for name, report in (("a.json", first), ("b.json", second)):
        (tmp_path / name).write_text(json.dumps(report))
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "change, words",
    [
        ({"index": "1"}, "expected a whole number for index"),
        ({"own_size_union": -1}, "expected own_size_union from 0, found -1"),
        ({"own_size_intersection": 10**6}, "expected no intersection above its union"),
        ({"size": [0, 4]}, "expected height and width for size"),
        ({"fields": [1]}, "expected an object for fields, found a list"),
    ],
)
def test_damaged_records_are_named(change, words, reports, tmp_path, capsys):
    damaged = json.loads(json.dumps(reports[0]))
    damaged["per_sample"][0] |= change
    path = tmp_path / "a.json"
    path.write_text(json.dumps(damaged))
    assert main(["compare", str(path), str(path)]) == 1
    assert f"{path}: not a report of this version of `evaluate`: {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["a.json"], "expected two files or more, received one"),
        (["a.json", "b.keras"], "expected models (.keras) alone, or reports of evaluate (.json) alone"),
        (["a.keras", "b.keras", "-d", "unc"], "give -d DATASET and -t SPLIT"),
        (["a.json", "b.json", "-t", "val"], "reports say what was scored; leave out -d and -t"),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    assert main(["compare", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_labels_do_not_repeat():
    assert [label_of(number) for number in (0, 1, 25, 26, 27)] == ["A", "B", "Z", "A1", "B1"]
