"""Files of boxes: what is written is read, and what cannot be used is named."""

import io

import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.data.batches import check_batches, digest_of, read_batch, write_batch
from cmpc_tf2.data.image_files import encode_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.evaluation import group_by_pixels
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cogrounding_tf2.data.samples import BoxClipSample, BoxSample

TOKEN_IDS = np.array([4, 5, 2, *[0] * 17])
PREPROCESSING = Preprocessing(32, "letterbox", "rgb")


def content(value: int, height: int = 20, width: int = 30, kind: str = "PNG") -> np.ndarray:
    return np.frombuffer(encode_image(np.full((height, width, 3), value, np.uint8), kind), np.uint8)


def clip(*values: int, annotated: int = 1) -> BoxClipSample:
    files = [content(value) for value in values]
    boxes = np.array([[1.5, 2, 10 + number, 12.25] for number in range(len(files))])
    lengths = np.array(list(map(len, files)))
    return BoxClipSample(TOKEN_IDS, np.concatenate(files), lengths, boxes, annotated, "the cup")


@pytest.fixture
def picture() -> BoxSample:
    return BoxSample(TOKEN_IDS, content(7), np.array([1.25, 2, 29.5, 18]), "café left")


@pytest.mark.parametrize("compress", [False, True])
def test_pictures_come_back(compress, picture, tmp_path):
    write_batch(tmp_path / "a.npz", picture, compress)
    found = read_batch(tmp_path / "a.npz", BoxSample)
    check_batches([tmp_path / "a.npz"], BoxSample)
    assert found.token_ids.dtype == np.int64 and found.token_ids.tolist() == TOKEN_IDS.tolist()
    assert found.expression == "café left" and found.box.tolist() == [1.25, 2, 29.5, 18]
    assert found.file.tobytes() == picture.file.tobytes()
    assert found.image.shape == (20, 30, 3) and (found.image == 7).all() and found.image is found.image
    assert found.digest == digest_of(found.image) and found.pixels is found.image
    assert found.fitted(PREPROCESSING).shape == BoxSample.input_shape(32) == (32, 32, 3)
    assert found.input_name == "image" and BoxSample.build_options(PREPROCESSING) == []


def test_the_file_is_the_picture_file(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)).save(file, "JPEG", quality=50)
    sample = BoxSample(TOKEN_IDS, np.frombuffer(file.getvalue(), np.uint8), np.array([0.0, 0, 9, 9]), "a")
    write_batch(tmp_path / "a.npz", sample)
    assert read_batch(tmp_path / "a.npz", BoxSample).file.tobytes() == file.getvalue()
    assert (tmp_path / "a.npz").stat().st_size < len(file.getvalue()) + 2500


def test_clips_come_back(tmp_path):
    write_batch(tmp_path / "a.npz", clip(3, 5, 5))
    found = read_batch(tmp_path / "a.npz", BoxClipSample)
    assert found.frames[:, 0, 0, 0].tolist() == [3, 5, 5] and found.frames.shape == (3, 20, 30, 3)
    assert (found.image == 5).all() and found.box.tolist() == [1.5, 2, 11, 12.25] and found.annotated == 1
    assert found.boxes.shape == (3, 4) and found.pixels is found.frames
    assert found.fitted(PREPROCESSING).shape == (3, 32, 32, 3)
    assert BoxClipSample.input_shape(32) == (2, 32, 32, 3) and found.input_name == "clip"


def test_a_clip_has_the_digest_of_its_annotated_frame():
    assert clip(3, 5).digest == clip(4, 5, 6).digest != clip(5, 3).digest


def test_samples_of_a_picture_are_grouped(picture):
    other = BoxSample(TOKEN_IDS, content(8), picture.box, "b")
    again = BoxSample(TOKEN_IDS, content(7), picture.box, "c")
    groups = group_by_pixels((number, sample) for number, sample in enumerate([picture, again, other]))
    assert [[number for number, _ in group] for group in groups] == [[0, 1], [2]]


def test_the_number_of_frames_has_to_fit():
    five = Preprocessing(32, "letterbox", frames=tuple(range(5)))
    clip(1, 2, 3, 4, 5).require_fit(five)
    clip(1, 2).require_train_fit(five)  # Pairs, whatever the model reads afterwards.
    with pytest.raises(InputError, match="holds clips of 2 frames, expected 5"):
        clip(1, 2).require_fit(five)
    with pytest.raises(InputError, match="holds clips of 5 frames, expected 2"):
        clip(1, 2, 3, 4, 5).require_train_fit(five)


BAD_PICTURES = {
    "box_batch: expected float64": {"box_batch": np.zeros(4, np.float32)},
    r"found float64 \(5,\)": {"box_batch": np.zeros(5)},
    "box_batch: expected x1 < x2 and y1 < y2": {"box_batch": np.array([5.0, 5, 5, 9])},
    r"found \[0.0, 0.0, nan, 1.0\]": {"box_batch": np.array([0, 0, np.nan, 1])},
    "file_batch: expected uint8": {"file_batch": np.zeros((2, 2), np.uint8)},
    r"file_batch: expected uint8 \(n,\), found uint8 \(0,\)": {"file_batch": np.zeros(0, np.uint8)},
    "text_batch: expected integers": {"text_batch": np.zeros(20)},
    "sent_batch: expected one string": {"sent_batch": np.array(["a", "b"])},
}


@pytest.mark.parametrize("message, changes", BAD_PICTURES.items())
def test_bad_pictures(message, changes, picture, tmp_path):
    np.savez(tmp_path / "a.npz", **{**picture.to_arrays(), **changes})
    with pytest.raises(InputError, match=f"a.npz: .*{message}"):
        read_batch(tmp_path / "a.npz", BoxSample)


BAD_CLIPS = {
    "length_batch: expected above 0": {"length_batch": np.array([1, 2])},
    "length_batch: expected": {"length_batch": np.zeros(0, np.int64)},
    r"box_batch: expected float64 \(2, 4\)": {"box_batch": np.zeros((3, 4))},
    "annotated: expected a whole number below 2": {"annotated": np.array(2)},
}


@pytest.mark.parametrize("message, changes", BAD_CLIPS.items())
def test_bad_clips(message, changes, tmp_path):
    np.savez(tmp_path / "a.npz", **{**clip(3, 5).to_arrays(), **changes})
    with pytest.raises(InputError, match=f"a.npz: {message}"):
        read_batch(tmp_path / "a.npz", BoxClipSample)


def test_lengths_that_overflow_are_refused(tmp_path):
    sample = clip(3, 5)
    lengths = np.array([2**63 - 1, 2**63 - 1, 2 + len(sample.file)])
    np.savez(tmp_path / "a.npz", **{**sample.to_arrays(), "length_batch": lengths, "box_batch": np.ones((3, 4))})
    with pytest.raises(InputError, match="length_batch: expected above 0"):
        read_batch(tmp_path / "a.npz", BoxClipSample)


def test_masks_are_no_boxes(picture, tmp_path):
    write_batch(tmp_path / "a.npz", picture)
    with pytest.raises(InputError, match=r"not a batch of clips with boxes: no annotated, length_batch"):
        read_batch(tmp_path / "a.npz", BoxClipSample)


def test_damaged_pictures_are_named_when_they_are_used(picture):
    broken = BoxSample(TOKEN_IDS, picture.file[:40], picture.box, "a")
    with pytest.raises(InputError, match="file_batch: not a readable image"):
        _ = broken.image
    files = [content(1), content(2, 21)]
    lengths = np.array(list(map(len, files)))
    mixed = BoxClipSample(TOKEN_IDS, np.concatenate(files), lengths, np.ones((2, 4)), 0, "a")
    with pytest.raises(InputError, match="file_batch: expected frames of one size"):
        _ = mixed.frames
