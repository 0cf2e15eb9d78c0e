"""Polygons and run lengths, and damaged ones, which are refused before they reach C code."""

import itertools

import numpy as np
import pytest

from cmpc_tf2.data.segmentations import rasterize
from cmpc_tf2.errors import InputError
from refer_layout import POLYGON

SIZE = [40, 60]


def compressed(counts: list[int]) -> str:
    """COCO's compressed form of any numbers, after `rleToString`."""
    text = ""
    for index, count in enumerate(counts):
        number, more = count - (counts[index - 2] if index > 2 else 0), True
        while more:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text += chr(digit + (32 if more else 0) + 48)
    return text


def test_compressed_run_lengths_as_pycocotools_writes_them(rng):
    from pycocotools import mask as coco_mask

    for number in range(20):
        mask = np.repeat(rng.integers(0, 2, (40, 6)), 10, axis=1) > 0 if number else np.zeros(SIZE, bool)
        encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        np.testing.assert_array_equal(rasterize(encoded, *SIZE), mask)
        flat = mask.T.ravel()
        counts = [sum(1 for _ in run) for _, run in itertools.groupby(np.concatenate([[False], flat]))]
        counts[0] -= 1
        assert compressed(counts) == encoded["counts"].decode()
        np.testing.assert_array_equal(rasterize({"size": SIZE, "counts": counts}, *SIZE), mask)


@pytest.mark.parametrize("counts", [[10, 5], [10, 5, 3], [10, 5, 0, 0], [0, 15], [2400], [0], []])
@pytest.mark.parametrize("write", [list, compressed])
def test_missing_runs_are_background(counts, write):
    rasterize([[-10.0, -10.0, 100.0, -10.0, 100.0, 100.0, -10.0, 100.0]], *SIZE)  # Leaves its pixels in freed memory.
    expected = np.zeros(2400, bool)
    if len(counts) > 1:
        expected[counts[0] : counts[0] + counts[1]] = True
    for segmentation in ({"size": SIZE, "counts": write(counts)}, [{"size": SIZE, "counts": write(counts)}]):
        np.testing.assert_array_equal(rasterize(segmentation, *SIZE), expected.reshape(60, 40).T)


def test_a_list_of_run_lengths_is_their_union():
    """The second form of masks in REFER."""
    parts = [{"size": SIZE, "counts": compressed([0, 40])}, {"size": SIZE, "counts": compressed([80, 40, 2280])}]
    mask = rasterize(parts, *SIZE)
    assert mask[:, [0, 2]].all() and mask.sum() == 80
    parts[1]["counts"] = [80, 40, 2280]
    np.testing.assert_array_equal(rasterize(parts, *SIZE), mask)


@pytest.mark.parametrize(
    "counts",
    [[2401], [2400, 1], [0, 2401], [10, -5], [-1, 2], [2**32 - 1, 2], [2**33, 5], [5, 2**31, 5, 2**31]],
)
@pytest.mark.parametrize("write", [list, compressed])
def test_run_lengths_that_do_not_fit(counts, write):
    with pytest.raises(InputError, match="has a segmentation whose run lengths do not fit 40 x 60 pixels"):
        rasterize({"size": SIZE, "counts": write(counts)}, *SIZE)


@pytest.mark.parametrize("counts", ["P", "0P", "PPPPPPPPPPPPPPP0", "0\x00", "0 0", "0~~", "é", "\ud800"])
def test_damaged_compressed_run_lengths(counts):
    with pytest.raises(InputError, match="has a segmentation whose compressed run lengths are damaged"):
        rasterize({"size": SIZE, "counts": counts}, *SIZE)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"size": [2**31 - 1, 2**31 - 1]}, "has a mask of 2147483647 x 2147483647 pixels, its image is 40 x 60"),
        ({"size": [10**5000, 1]}, "has a mask of a number of more than 18 digits x 1 pixels"),
        ({"size": [None, {}]}, "has a mask of null x an object pixels"),
        ({"size": 7}, "has a segmentation of another form: expected `size` and `counts`"),
        ({"size": None}, "has a segmentation of another form: expected `size` and `counts`"),
        ({"counts": None}, "has a segmentation of another form: expected whole numbers or a compressed text"),
        ({"counts": [1, None]}, "has a segmentation of another form: expected whole numbers or a compressed text"),
        ({"counts": [1, "2"]}, "has a segmentation of another form: expected whole numbers or a compressed text"),
    ],
)
def test_run_lengths_of_another_form(change, words):
    with pytest.raises(InputError) as failure:
        rasterize({"size": SIZE, "counts": compressed([10, 5]), **change}, *SIZE)
    assert words in str(failure.value)


@pytest.mark.parametrize(
    "segmentation, words",
    [
        ([[1, 2], [3, 4], [5, 6]], "no polygon has three points; expected flat lists x1, y1, x2, y2, ..."),
        ([[[1, 2], [30, 4], [5, 60]]], "expected x1, y1, x2, y2, ..., found a list"),
        ([[[1, 2]] * 7], "expected x1, y1, x2, y2, ..., found a list"),
        ([[None, 2, 3, 4, 5, 6]], "expected x1, y1, x2, y2, ..., found null"),
        ([["1", "2", "3", "4", "5", "6"]], "expected x1, y1, x2, y2, ..., found '1'"),
        ([*POLYGON, {"size": SIZE, "counts": "0"}], "expected a list of polygons, found an object"),
        ([*POLYGON, None], "expected a list of polygons, found null"),
        ([[float("inf"), 2, 3, 4, 5, 6]], "points far outside the picture"),
        ([[10**400, 2, 3, 4, 5, 6]], "points far outside the picture"),
        ([[-600, -600, 600, 600] * 500], "outline is longer than 1000000 pixels"),
        ({}, "expected `size` and `counts`"),
        (None, "expected polygons or run lengths, found null"),
        ("POLYGON", "expected polygons or run lengths, found 'POLYGON'"),
    ],
)
def test_polygons_of_another_form(segmentation, words):
    with pytest.raises(InputError) as failure:
        rasterize(segmentation, *SIZE)
    assert "segmentation" in str(failure.value) and words in str(failure.value)


def test_programming_errors_are_not_caught(monkeypatch):
    from pycocotools import mask as coco_mask

    for error in (KeyboardInterrupt, NameError, TypeError):
        monkeypatch.setattr(coco_mask, "merge", lambda _, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(error):
            rasterize(POLYGON, *SIZE)


def test_rasterize_all_forms():
    from pycocotools import mask as coco_mask

    polygon = rasterize(POLYGON, 40, 60)
    assert polygon.dtype == bool and polygon.sum() == 400
    two = rasterize([*POLYGON, [40.0, 5.0, 50.0, 5.0, 50.0, 15.0, 40.0, 15.0]], 40, 60)
    assert two.sum() == 500
    compressed = coco_mask.encode(np.asfortranarray(polygon.astype(np.uint8)))
    compressed["counts"] = compressed["counts"].decode()
    np.testing.assert_array_equal(rasterize(compressed, 40, 60), polygon)
    flat = polygon.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    np.testing.assert_array_equal(rasterize({"size": [40, 60], "counts": counts}, 40, 60), polygon)
    far, odd = [1e30, 0.0, 9.0, 9.0, 0.0, 9.0], [float("nan"), 0.0, 9.0, 9.0, 0.0, 9.0]
    for bad in ([], [[1.0, 2.0]], {"size": [4, 6], "counts": [24]}, 7, [far], [odd], ["a"], [7]):
        with pytest.raises(InputError, match=r"segmentation|mask of"):
            rasterize(bad, 40, 60)


def test_polygons_outside_and_of_two_points():
    assert rasterize([[-10.0, -10.0, 20.0, -10.0, 20.0, 20.0, -10.0, 20.0]], 40, 60).sum() == 400
    assert rasterize([[1.0, 2.0, 3.0, 4.0], *POLYGON], 40, 60).sum() == 400
    assert not rasterize([[100.0, 100.0, 120.0, 100.0, 120.0, 120.0]], 40, 60).any()
    with pytest.raises(InputError, match="empty segmentation"):
        rasterize([[1.0, 2.0, 3.0, 4.0]], 40, 60)
