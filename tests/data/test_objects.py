"""Files of pictures with all their objects: what is written is read, and what cannot be used is named."""

import numpy as np
import pytest

from cmpc_tf2.data.annotations import rasterize
from cmpc_tf2.data.batches import Sample, check_batches, read_batch, write_batch
from cmpc_tf2.data.datasets import rebuild_command
from cmpc_tf2.data.image_files import encode_image
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.data.segmentations import encode_run_lengths, run_lengths
from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.evaluation import group_by_pixels
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.preprocessing.preprocessing import Preprocessing

TOKEN_IDS = np.array([*[0] * 17, 4, 5, 2])
PREPROCESSING = Preprocessing(32)


def content(value: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.frombuffer(encode_image(np.full((height, width, 3), value, np.uint8)), np.uint8)


def mask_of(height: int = 20, width: int = 30) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[2:9, 3:7] = True
    mask[5, 5] = False
    return mask


@pytest.fixture
def sample() -> ObjectSample:
    return ObjectSample(
        token_ids=TOKEN_IDS,
        file=content(7),
        boxes=np.array([[0.25, 1, 5.5, 6], [3, 2, 4, 7]]),
        categories=np.array([80, 1]),
        object=1,
        mask_size=(20, 30),
        mask_counts=run_lengths(mask_of()),
        attributes=("red", "striped"),
        expression="café left",
    )


@pytest.mark.parametrize("compress", [False, True])
def test_samples_come_back(compress, sample, tmp_path):
    write_batch(tmp_path / "a.npz", sample, compress)
    check_batches([tmp_path / "a.npz"], ObjectSample)
    found = read_batch(tmp_path / "a.npz", ObjectSample)
    assert found.token_ids.tolist() == TOKEN_IDS.tolist() and found.expression == "café left"
    assert found.file.tobytes() == sample.file.tobytes()
    assert found.boxes.dtype == np.float64 and found.boxes.tolist() == sample.boxes.tolist()
    assert found.categories.tolist() == [80, 1] and found.object == 1
    assert found.attributes == ("red", "striped")
    np.testing.assert_array_equal(found.mask, mask_of())
    assert found.mask is found.mask and found.image is found.image


def test_attributes_may_be_missing(sample, tmp_path):
    arrays = {**sample.to_arrays(), "attribute_batch": np.array((), str)}
    assert ObjectSample.from_arrays(arrays).attributes == ()
    write_batch(tmp_path / "a.npz", ObjectSample.from_arrays(arrays))
    assert read_batch(tmp_path / "a.npz", ObjectSample).attributes == ()


def test_the_interface_is_that_of_a_sample_of_a_mask(sample):
    same = Sample(TOKEN_IDS, np.full((20, 30, 3), 7, np.uint8), mask_of(), "café left")
    assert sample.describe() == same.describe() and sample.digest == same.digest
    np.testing.assert_array_equal(sample.fitted(PREPROCESSING), same.fitted(PREPROCESSING))
    assert sample.input_shape(32) == same.input_shape(32) and sample.input_name == same.input_name
    sample.require_fit(PREPROCESSING)
    groups = group_by_pixels(enumerate([sample, same]))
    assert [[number for number, _ in group] for group in groups] == [[0, 1]]


@pytest.mark.parametrize("mask", [np.zeros((3, 4), bool), np.ones((3, 4), bool), mask_of(), mask_of()[:, :7]])
def test_run_lengths(mask):
    counts = run_lengths(mask)
    found = rasterize({"size": list(mask.shape), "counts": counts.tolist()}, *mask.shape)
    np.testing.assert_array_equal(found, mask)
    assert counts.sum() == mask.size and counts[1::2].sum() == mask.sum()
    again = rasterize(encode_run_lengths(mask), *mask.shape)
    np.testing.assert_array_equal(again, mask)


BAD_ARRAYS = {
    r"box_batch: expected float64 \(n, 4\), n above 0, found float32": {"box_batch": np.ones((2, 4), np.float32)},
    r"box_batch: .* found float64 \(0, 4\)": {"box_batch": np.ones((0, 4))},
    r"box_batch: .* found float64 \(2, 5\)": {"box_batch": np.ones((2, 5))},
    "box_batch: expected finite numbers": {"box_batch": np.array([[0, 0, 1, 1], [0, np.nan, 1, 1]])},
    "widths and heights above 0": {"box_batch": np.array([[0, 0, 1, 1], [0, 0, 1, 0.0]])},
    r"category_batch: expected integers above 0 \(2,\), found int64 \(3,\)": {"category_batch": np.array([1, 1, 1])},
    r"category_batch: .*, found int64 \(2,\)": {"category_batch": np.array([0, 1])},
    r"category_batch: .*, found float64 \(2,\)": {"category_batch": np.ones(2)},
    r"object: expected a whole number below 2, found int64 \(\)": {"object": np.array(2)},
    r"object: .* found int64 \(1,\)": {"object": np.array([1])},
    "mask_size: expected height and width": {"mask_size": np.array([20, 0])},
    r"mask_size: expected height and width, found int64 \(2,\)": {"mask_size": np.array([2**40, 2**40])},
    r"mask_size: .* found int64 \(3,\)": {"mask_size": np.array([20, 30, 3])},
    "mask_counts: expected whole numbers, 600 in all": {"mask_counts": np.array([599])},
    "mask_counts: expected whole": {"mask_counts": np.array([601, -1])},
    r"mask_counts: .* found int64 \(0,\)": {"mask_counts": np.zeros(0, np.int64)},
    r"mask_counts: .* found int64 \(3,\)": {"mask_counts": np.array([2**63 - 1, 2**63 - 1, 602])},
    "attribute_batch: expected strings": {"attribute_batch": np.array([1])},
    "file_batch: expected uint8": {"file_batch": np.zeros(0, np.uint8)},
    "text_batch: expected integers": {"text_batch": np.zeros(20)},
    "sent_batch: expected one string": {"sent_batch": np.array(["a", "b"])},
}


@pytest.mark.parametrize("message, changes", BAD_ARRAYS.items())
def test_bad_arrays(message, changes, sample, tmp_path):
    np.savez(tmp_path / "a.npz", **{**sample.to_arrays(), **changes})
    with pytest.raises(InputError, match=f"a.npz: .*{message}.*; build the split again"):
        read_batch(tmp_path / "a.npz", ObjectSample)


def test_the_picture_has_the_size_of_the_mask(sample):
    arrays = {**sample.to_arrays(), "file_batch": content(7, 30, 20)}
    with pytest.raises(InputError, match="file_batch: expected a picture of 20 x 30, as its mask, found 30 x 20"):
        ObjectSample.from_arrays(arrays).require_fit(PREPROCESSING)
    with pytest.raises(InputError, match="file_batch: not a readable image"):
        ObjectSample.from_arrays({**arrays, "file_batch": content(7)[:40]}).require_train_fit(PREPROCESSING)


def test_the_kind_of_a_split_follows_from_its_keys(sample, tmp_path):
    write_batch(tmp_path / "objects.npz", sample)
    write_batch(tmp_path / "masks.npz", Sample(TOKEN_IDS, np.zeros((2, 3, 3), np.uint8), np.ones((2, 3), bool), "a"))
    (tmp_path / "broken.npz").write_bytes(b"PK")
    found = [PICTURES.sample_type_of(tmp_path / f"{name}.npz") for name in ("objects", "masks", "broken")]
    assert found == [ObjectSample, Sample, Sample]
    with pytest.raises(InputError, match="not a batch of pictures: no im_batch, mask_batch"):
        read_batch(tmp_path / "objects.npz")
    with pytest.raises(InputError, match="not a batch of pictures with their objects: no attribute_batch, box_batch"):
        read_batch(tmp_path / "masks.npz", ObjectSample)


def test_the_command_that_builds_a_split_again(tmp_path):
    command = rebuild_command(tmp_path / "unc" / "train_batch", ObjectSample, PREPROCESSING)
    assert command == (
        f"python -m cmpc_tf2 build_batches --objects -d unc -t train --output-root {tmp_path} --overwrite"
    )
