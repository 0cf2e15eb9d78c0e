"""PhraseCut's ground truth and subsets."""

import json

import numpy as np
import pytest

from cmpc_tf2.data.phrasecut import read_phrasecut
from cmpc_tf2.errors import InputError
from phrasecut_files import HEIGHT, WIDTH, box, task, write_phrasecut


def subsets_of(tmp_path, entry, **picture) -> set[str]:
    split = read_phrasecut(write_phrasecut(tmp_path / "phrasecut", [entry], picture=picture), "miniv")
    return {name for name, belongs in split.subsets("7__1").items() if belongs}


def families(names: set[str], letters: str) -> set[str]:
    return {name for name in names if name[0] in letters}


def test_masks_hold_the_outline(tmp_path):
    polygons = [[box(5, 5, 10, 10), box(14, 5, 3, 2)], [box(30, 20, 20, 20)], [[[1, 1]], [], [[0.9, 0], [2.9, 0]]]]
    split = read_phrasecut(write_phrasecut(tmp_path / "phrasecut", [task(1, polygons)]), "miniv")
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[5:15, 5:15] = expected[5:7, 14:17] = expected[20:, 30:] = expected[0, :3] = True
    np.testing.assert_array_equal(split.draw_mask("7__1", HEIGHT, WIDTH), expected)
    assert split.draw_mask("7__1", 8, 10).shape == (8, 10)  # The size of the mask that it is compared with.
    assert split.size("7__1") == (HEIGHT, WIDTH) and split.task_ids == ["7__1"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("cat0", {"c20", "c100", "c500"}),
        ("cat19", {"c20", "c100", "c500"}),
        ("cat20", {"c100", "c500", "c21-100"}),
        ("cat99", {"c100", "c500", "c21-100"}),
        ("cat100", {"c500", "c101-500"}),
        ("cat499", {"c500", "c101-500"}),
        ("cat500", {"c500+"}),
        ("bear", {"c500+", "c_coco"}),  # Not among the counted names.
    ],
)
def test_frequency_of_the_category(name, expected, tmp_path):
    assert families(subsets_of(tmp_path, task(1, name=name)), "c") == expected


@pytest.mark.parametrize(
    "attributes, expected",
    [
        ([], {"a200+"}),
        (["att19"], {"a20", "a100", "a200"}),
        (["att20"], {"a100", "a200", "a21-100"}),
        (["att250", "att100"], {"a200", "a101-200"}),  # The most frequent one counts.
        (["att199", "never"], {"a200", "a101-200"}),
        (["att200"], {"a200+"}),
        (["red", "tall"], {"a200+", "a_color", "a_shape"}),
        (["dark"], {"a200+"}),
    ],
)
def test_frequency_and_type_of_attributes(attributes, expected, tmp_path):
    assert families(subsets_of(tmp_path, task(1, attributes=attributes)), "a") == expected


@pytest.mark.parametrize("count, expected", [(1, "i_single"), (2, "i_multi"), (4, "i_multi"), (5, "i_many")])
def test_instances(count, expected, tmp_path):
    assert families(subsets_of(tmp_path, task(1, instances=count)), "i") == {expected}


@pytest.mark.parametrize(
    "width, height, expected",
    [
        (19, 1, "s_small"),
        (20, 1, "s_mid"),  # 20 of 1000 pixels: exactly 2 %.
        (20, 10, "s_mid"),  # Exactly 20 %.
        (20, 11, "s_large"),
    ],
)
def test_size(width, height, expected, tmp_path):
    entry = task(1, [[box(0, 0, width, height)]])
    assert families(subsets_of(tmp_path, entry), "s") == {expected}


def test_size_is_that_of_the_listed_picture(tmp_path):
    assert "s_small" in subsets_of(tmp_path, task(1), width=400, height=250)  # 100 of 100,000 pixels.


@pytest.mark.parametrize(
    "entry, expected",
    [
        (task(1), {"p_name"}),
        (task(1, attributes=["red"], kind="attribute"), {"p_att", "p_att+"}),
        (task(1, attributes=["red", "tall"], kind="name"), {"p_att", "p_attm", "p_name"}),
        (task(1, relations=[["on", "sea"]], kind="relation"), {"p_rel", "p_rel+"}),
        (
            task(1, attributes=["red"], relations=[["on", "sea"], ["by", "cat"]], kind="verbose"),
            {"p_att", "p_rel", "p_relm", "p_att_rel", "p_verbose"},
        ),
    ],
)
def test_structure_of_the_phrase(entry, expected, tmp_path):
    assert families(subsets_of(tmp_path, entry), "p") == expected


def test_stuff_and_pictures_of_coco(tmp_path):
    assert families(subsets_of(tmp_path / "1", task(1, name="seat"), coco_id=3), "td") == {"t_stuff", "d_cocotv"}
    assert families(subsets_of(tmp_path / "2", task(1, name="bear")), "td") == {"t_obj", "d_notcocotv"}


@pytest.mark.parametrize(
    "name, words",
    [
        ("refer_miniv.json", "the downloader of github.com/ChenyunWu/PhraseCutDataset gets it"),
        ("name_att_rel_count.json", "the downloader"),
        ("image_data_split.json", "the downloader"),
        ("subset.py", "copy utils/subset.py of github.com/ChenyunWu/PhraseCutDataset there"),
    ],
)
def test_missing_files(name, words, tmp_path):
    folder = write_phrasecut(tmp_path / "phrasecut", [task(1)])
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file; {words}"):
        read_phrasecut(folder, "miniv")


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("refer_miniv.json", {}, "not annotations in the form of PhraseCut: expected a list for the file"),
        ("refer_miniv.json", [{"task_id": 3}], "entry 0: expected text for task_id, found 3"),
        ("refer_miniv.json", [{**task(1), "phrase_structure": None}], "expected an object for phrase_structure"),
        ("refer_miniv.json", [task(1, attributes=[3])], "entry 0: expected text for an attribute, found 3"),
        ("refer_miniv.json", [{**task(1), "image_id": 8}], "image 8 is not in image_data_split.json"),
        ("name_att_rel_count.json", {"cat": []}, "expected a list for att, which is missing"),
        ("name_att_rel_count.json", {"cat": [3]}, "expected pairs of a name and a count in cat, found 3"),
        (
            "image_data_split.json",
            [{"image_id": 7, "height": 0, "width": 4}],
            "expected height from 1 to 20000, found 0",
        ),
        ("subset.py", "coco = (", "not Python code; copy utils/subset.py"),
        ("subset.py", "coco = stuff_names = ['a']", "expected a list of texts named stuff_names, found none"),
    ],
)
def test_files_of_another_form(name, content, words, tmp_path):
    folder = write_phrasecut(tmp_path / "phrasecut", [task(1)])
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=f"{name}: .*{words}"):
        read_phrasecut(folder, "miniv")


@pytest.mark.parametrize(
    "polygons, words",
    [
        ([["a"]], "expected a list for a polygon"),
        ([3], "expected a list for an instance in Polygons, found 3"),
        ([[[[1, 2], [3]]]], "expected lists of points"),
        ([[[1, 2, 3, 4]]], "expected lists of points"),
        ([[[[1, 2, 3], [4, 5, 6]]]], "expected lists of points"),
        ([[[["a", 2]]]], "expected lists of points"),
        ([[[[1, 2], [3, None]]]], "expected points in the picture"),
        ([[[[1, 2], [3, 1e9]]]], "expected points in the picture"),
    ],
)
def test_polygons_of_another_form(polygons, words, tmp_path):
    split = read_phrasecut(write_phrasecut(tmp_path / "phrasecut", [task(1, polygons)]), "miniv")
    with pytest.raises(InputError, match=f"task 7__1: {words}"):
        split.draw_mask("7__1", HEIGHT, WIDTH)
