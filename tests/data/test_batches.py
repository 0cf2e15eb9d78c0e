import os
import sys

import numpy as np
import pytest

from cmpc_tf2.data.batches import (
    Sample,
    batch_path,
    check_batches,
    list_batches,
    read_batch,
    read_manifest,
    write_batch,
)
from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.evaluation import group_by_pixels
from cmpc_tf2.npz import save_stored

KEYS = {"text_batch", "im_batch", "mask_batch", "sent_batch"}


@pytest.fixture
def sample(rng):
    token_ids = np.array([0] * 18 + [4, 5])
    image = rng.integers(0, 256, size=(5, 7, 3), dtype=np.uint8)
    return Sample(token_ids, image, image[..., 0] > 100, "the café")


@pytest.fixture
def arrays(sample):
    """A batch as the original writes it."""
    return {
        "text_batch": sample.token_ids,
        "im_batch": sample.image,
        "mask_batch": sample.mask,
        "sent_batch": [sample.expression],
    }


def test_format_on_disk_is_the_originals(sample, tmp_path):
    write_batch(tmp_path / "a.npz", sample)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert set(stored.files) == KEYS
        assert stored["text_batch"].dtype == np.int64 and stored["text_batch"].shape == (20,)
        assert stored["im_batch"].dtype == np.uint8 and stored["im_batch"].shape == (5, 7, 3)
        assert stored["mask_batch"].dtype == bool and stored["mask_batch"].shape == (5, 7)
        assert stored["sent_batch"].shape == (1,) and stored["sent_batch"][0] == "the café"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 writes zip headers of another form")
@pytest.mark.parametrize("expression", ["man", "the café", "a" * 300])
def test_files_are_those_of_numpy(expression, sample, tmp_path):
    """Our writer is faster than `np.savez`; its files are the same to the byte."""
    sample = Sample(sample.token_ids, sample.image, sample.mask, expression)
    write_batch(tmp_path / "ours.npz", sample)
    np.savez(
        tmp_path / "numpys.npz",
        text_batch=sample.token_ids,
        im_batch=sample.image,
        mask_batch=sample.mask,
        sent_batch=np.array([expression]),
    )
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()


def test_reads_what_the_original_wrote(arrays, sample, tmp_path):
    for name, expressions in (("unicode", ["the café"]), ("bytes", [b"the cafe"])):
        np.savez(tmp_path / f"{name}.npz", **{**arrays, "sent_batch": expressions})
        read = read_batch(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(read.image, sample.image)
        np.testing.assert_array_equal(read.mask, sample.mask)
        assert read.token_ids.tolist() == sample.token_ids.tolist()
        assert read.expression.startswith("the caf")


def test_write_then_read_is_identity(sample, tmp_path):
    write_batch(tmp_path / "a.npz", sample)
    first = (tmp_path / "a.npz").read_bytes()
    write_batch(tmp_path / "a.npz", read_batch(tmp_path / "a.npz"))
    assert (tmp_path / "a.npz").read_bytes() == first


def assert_unreadable(path, words):
    with pytest.raises(InputError) as failure:
        read_batch(path)
    assert str(path) in str(failure.value) and words in str(failure.value)


def test_bad_files_are_reported(arrays, tmp_path):
    path = tmp_path / "bad.npz"
    assert_unreadable(path, "no such batch")
    np.savez(path, **arrays)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert_unreadable(path, "not a readable .npz file")
    damaged = bytearray(whole)
    damaged[whole.index(arrays["im_batch"].tobytes())] ^= 0xFF
    path.write_bytes(damaged)
    assert_unreadable(path, "not a readable .npz file")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(path)
    assert_unreadable(path, "not a readable .npz file")


def test_foreign_contents_are_reported(arrays, tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, x=np.zeros(3))
    assert_unreadable(path, "no im_batch, mask_batch, sent_batch, text_batch")
    for key, value in {
        "text_batch": np.zeros((2, 20), int),
        "im_batch": np.zeros((0, 0, 3), np.uint8),
        "mask_batch": np.zeros((7, 5), bool),
        "sent_batch": np.array(["a", "b"]),
    }.items():
        np.savez(path, **{**arrays, key: value})
        assert_unreadable(path, f"{key}: expected")


def test_invalid_characters_are_reported(arrays, tmp_path):
    np.savez(tmp_path / "bad.npz", **{**arrays, "sent_batch": np.array([0x7FFFFFFF], np.uint32).view("<U1")})
    assert_unreadable(tmp_path / "bad.npz", "its text has letters that do not exist")


@pytest.mark.parametrize("content", ["[1]", "{}", '{"samples": "1", "sources": []}', "[" * 200_000])
def test_manifests_of_another_form_are_reported(content, tmp_path):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json: not (a manifest of a split: expected|readable JSON)"):
        read_manifest(tmp_path)


def test_pickled_objects_are_never_loaded(arrays, tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, **{**arrays, "sent_batch": np.array([{"a": 1}], dtype=object)})
    assert_unreadable(path, "holds pickled objects, which are never loaded")


def test_many_arrays_are_written_where_there_is_no_writev(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "writev", raising=False)
    arrays = {f"a{number}": np.full(3, number) for number in range(300)}
    save_stored(tmp_path / "many.npz", arrays)
    with np.load(tmp_path / "many.npz") as read:
        assert read.files == list(arrays)
        assert all((read[name] == array).all() for name, array in arrays.items())


def test_list_batches_in_numeric_order_without_gaps(sample, tmp_path):
    with pytest.raises(InputError, match=r"make them with `python -m cmpc_tf2 build_batches -d unc"):
        list_batches(tmp_path, "unc", "val")
    paths = [batch_path(tmp_path, "unc", "val", n) for n in range(11)]
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        write_batch(path, sample)
    (paths[0].parent / "notes.npz").write_text("not counted")
    assert list_batches(tmp_path, "unc", "val") == paths
    paths[3].unlink()
    with pytest.raises(InputError, match="batches 0 to 10 expected, the first missing: 3"):
        list_batches(tmp_path, "unc", "val")


def test_check_batches_names_the_first_bad_file(sample, tmp_path):
    good, cut, foreign = (tmp_path / name for name in ("good.npz", "cut.npz", "foreign.npz"))
    write_batch(good, sample)
    cut.write_bytes(good.read_bytes()[:-30])
    np.savez(foreign, x=np.zeros(3))
    check_batches([good])
    with pytest.raises(InputError, match=r"cut.npz: not a readable"):
        check_batches([good, cut])
    with pytest.raises(InputError, match=r"foreign.npz: not a batch"):
        check_batches([good, foreign])


def test_group_by_pixels(sample):
    other = Sample(sample.token_ids, 255 - sample.image, sample.mask, "other")
    copy = Sample(sample.token_ids, sample.image.copy(), sample.mask, "copy")
    samples = [sample, copy, other, sample]
    groups = [[number for number, _ in group] for group in group_by_pixels(enumerate(samples))]
    assert groups == [[0, 1], [2], [3]]


def test_fuzzed_files_never_end_in_another_error(arrays, tmp_path, rng):
    """With any wrong bytes the file is read, or refused with its name."""
    path = tmp_path / "bad.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, **arrays)
        whole = path.read_bytes()
        for _ in range(300):
            damaged = bytearray(whole)
            for position in rng.integers(0, len(whole), size=3):
                damaged[position] = rng.integers(256)
            path.write_bytes(damaged)
            for read in (read_batch, lambda p: check_batches([p])):
                try:
                    read(path)
                except InputError as error:
                    assert str(path) in str(error)
