import contextlib

import h5py
import numpy as np
import pytest
import scipy.io

from a2d_layout import write_h5
from cmpc_tf2.data.image_files import write_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_video_tf2.data.annotations import jhmdb_length, read_a2d_mask, read_jhmdb_mask, read_queries, read_split
from cmpc_video_tf2.data.clips import FrameFolder, VideoFile, clip_numbers, clips_of, open_path, open_video
from original import GOLDEN
from pictures import HEIGHT, WIDTH, avif_with_damaged_pixels, several

A, B = np.zeros((4, 6), "uint8"), np.zeros((4, 6), "uint8")
A[:2, :3], B[1:, 2:] = 1, 1


def test_real_annotations_parse_completely(shared_data):
    a2d = read_queries(shared_data / "a2d_sentences" / "a2d_annotation.txt")
    assert len(a2d) == 6655 and a2d[0].video_id == "--h5fAKYurM" and a2d[0].instance_id == 0
    assert a2d[2].expression == "instructor standing on the sideline"
    jhmdb = read_queries(shared_data / "jhmdb_sentences" / "jhmdb_annotation.txt")
    assert len(jhmdb) == 928 and jhmdb[0].instance_id is None
    vocabulary = Vocabulary.from_file(shared_data / "vocab" / "vocabulary_Gref.txt")
    golden = np.load(GOLDEN / "tokens.npz")
    (key,) = [name for name in golden if "a2d" in name.lower()]
    np.testing.assert_array_equal([vocabulary.encode(query.expression) for query in a2d], golden[key])


def test_sentences_with_commas_and_quotes(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text('video_id,instance_id,query\nv,3,"the man, in ""white"""\n')
    (query,) = read_queries(path)
    assert (query.instance_id, query.expression) == (3, 'the man, in "white"')


@pytest.mark.parametrize(
    "content, words",
    [
        ("video_id,instance_id,query\nv,3,a man, in white\n", "line 2: expected 3 columns, found 4; a sentence with"),
        ("video_id,instance_id,query\nv,x,a man\n", "line 2: instance_id is 'x', expected a number"),
        ("video_id,instance_id,query\nv,99999999999999,a man\n", "expected a number"),
        ("video_id,instance_id,query\na/b,1,a man\n", "line 2: expected the name of a video, found 'a/b'"),
        ('video_id,instance_id,query\nv,1,"a man\nv,2,"a cat"\nv,3,a dog\n', "line 2: a quote is not closed"),
        ('video_id,instance_id,query\nv,1,a dog\nv,2,"a man\nin red"\n', "line 3: a quote is not closed"),
        ('video_id,instance_id,query\nv,2,"a man', "line 2: a quote is not closed"),
        ('video_id,query\nv,"a man\nw,"a cat"\n', "line 2: a quote is not closed"),
        ("v,3,a man\n", "expected a head line"),
        ("", "expected a head line"),
    ],
)
def test_broken_annotations(content, words, tmp_path):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError) as failure:
        read_queries(tmp_path / "a.txt")
    assert words in str(failure.value) and str(tmp_path / "a.txt") in str(failure.value)


def test_split_file(tmp_path):
    (tmp_path / "videoset.csv").write_text("a,1,0:01,0:02,240,320,50,3,0\nb,1,0:01,0:02,240,320,50,3,1\n")
    assert read_split(tmp_path / "videoset.csv") == {"a": "train", "b": "test"}
    (tmp_path / "videoset.csv").write_text("a,1,x\n")
    with pytest.raises(InputError, match="line 1: expected lines that start with a video id and end with a number"):
        read_split(tmp_path / "videoset.csv")
    (tmp_path / "videoset.csv").write_text('a,0\n"b,1\nc,0\nd",1\n')
    with pytest.raises(InputError, match="line 2: a quote is not closed"):
        read_split(tmp_path / "videoset.csv")
    with pytest.raises(InputError, match="no such file; it comes with the A2D dataset"):
        read_split(tmp_path / "none.csv")


def test_byte_order_marks_are_skipped(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\ufeffvideo_id,query\nv,a man\n", encoding="utf-8")
    assert [query.video_id for query in read_queries(path)] == ["v"]
    path.write_text("\ufeffa,0\nb,1\n", encoding="utf-8")
    assert read_split(path) == {"a": "train", "b": "test"}


def test_masks_that_are_not_numbers_are_reported(tmp_path):
    """Text, a group or more values than memory holds where `reMask` or `instance` should be."""
    for number, masks in enumerate((["text"], "text", np.array(b"text"))):
        path = write_h5(tmp_path / f"{number}.h5", instance=[0], reMask=masks)
        with pytest.raises(InputError, match=r"h5: reMask: expected an array of numbers, found text"):
            read_a2d_mask(path, 0)
    with pytest.raises(InputError, match=r"h5: instance: expected an array of numbers"):
        read_a2d_mask(write_h5(tmp_path / "instance.h5", instance=["0"], reMask=A.T), 0)
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file["instance"] = [0]
        file.create_group("reMask")
    with pytest.raises(InputError, match=r"group.h5: reMask: expected an array of numbers"):
        read_a2d_mask(tmp_path / "group.h5", 0)
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file["instance"] = [0]
        file.create_dataset("reMask", shape=(1, 200_000, 200_000), dtype="u1", chunks=(1, 8, 8))
    with pytest.raises(InputError, match=r"huge.h5: reMask: expected at most \d+ bytes of masks, found 40000000000"):
        read_a2d_mask(tmp_path / "huge.h5", 0)


def test_masks_of_instances(tmp_path):
    """Masks are stored transposed. A single one counts for any id; of several, all with the requested id count."""
    one = write_h5(tmp_path / "1.h5", instance=[7], reMask=A.T)
    np.testing.assert_array_equal(read_a2d_mask(one, 0), A > 0)
    several = write_h5(tmp_path / "2.h5", instance=[0, 2], reMask=np.stack([A.T, B.T]))
    np.testing.assert_array_equal(read_a2d_mask(several, 2), B > 0)
    twice = write_h5(tmp_path / "3.h5", instance=[2, 2, 0], reMask=np.stack([A.T, B.T, 0 * A.T]))
    np.testing.assert_array_equal(read_a2d_mask(twice, 2), (A + B) > 0)
    with pytest.raises(InputError, match=r"2.h5: has no instance 5; it has \[0, 2\]"):
        read_a2d_mask(several, 5)
    with pytest.raises(InputError, match="has no reMask; not an annotation"):
        read_a2d_mask(write_h5(tmp_path / "4.h5", instance=[0]), 0)
    (tmp_path / "5.h5").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"5.h5: not a readable HDF5 file"):
        read_a2d_mask(tmp_path / "5.h5", 0)
    np.testing.assert_array_equal(read_a2d_mask(write_h5(tmp_path / "6.h5", instance=3, reMask=A.T), 0), A > 0)
    with pytest.raises(InputError, match=r"7.h5: reMask: expected masks \(n, w, h\)"):
        read_a2d_mask(write_h5(tmp_path / "7.h5", instance=[0], reMask=np.zeros(4)), 0)


def test_damaged_masks_never_end_in_another_error(tmp_path, rng):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["instance"] = [0, 1]
        file.create_dataset("reMask", data=rng.integers(0, 2, (2, 30, 20), dtype=np.uint8), compression="gzip")
    whole = path.read_bytes()
    for _ in range(200):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(whole), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(InputError):
            read_a2d_mask(path, 1)


def test_masks_of_a_jhmdb_clip(tmp_path):
    path = tmp_path / "puppet_mask.mat"
    scipy.io.savemat(path, {"part_mask": np.stack([A, B], axis=-1)})
    assert jhmdb_length(path) == 2
    np.testing.assert_array_equal(read_jhmdb_mask(path, 2), B > 0)
    with pytest.raises(InputError, match="has 2 masks, none of frame 3"):
        read_jhmdb_mask(path, 3)
    for other in (np.array([{"a": 1}], object), "text"):
        scipy.io.savemat(path, {"part_mask": other})
        for read in (jhmdb_length, lambda p: read_jhmdb_mask(p, 1)):
            with pytest.raises(InputError, match="part_mask: expected an array of numbers"):
                read(path)
    scipy.io.savemat(path, {"other": A})
    for read in (jhmdb_length, lambda p: read_jhmdb_mask(p, 1)):
        with pytest.raises(InputError, match="has no part_mask"):
            read(path)


def test_clips_are_clamped_at_both_ends():
    """Frames id-8 to id+7: the annotated one is the ninth."""
    assert clip_numbers(30, 100) == list(range(22, 38))
    assert clip_numbers(3, 100) == [1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert clip_numbers(20, 22)[8:] == [20, 21, 22, 22, 22, 22, 22, 22]
    assert clip_numbers(1, 1) == [1] * 16


def test_frames_of_a_folder(tmp_path):
    (tmp_path / "v").mkdir()
    for number in (1, 2, 4):
        write_image(tmp_path / "v" / f"{number:05d}.png", np.full((4, 6, 3), number, np.uint8))
    video = open_video([tmp_path / "none", tmp_path], "v")
    assert isinstance(video, FrameFolder) and video.last == 4
    assert [frame[0, 0, 0] for frame in video.read([1, 1, 2, 4])] == [1, 1, 2, 4]
    with pytest.raises(InputError, match="v: frame 3 of 4 is missing"):
        video.read([2, 3, 4])
    with pytest.raises(InputError, match=r"w: no folder of frames and no .mp4 or .avi file in"):
        open_video([tmp_path], "w")
    write_image(tmp_path / "v" / "00000.png", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(InputError, match=r"v: expected one picture of each number from 00001.png on"):
        open_video([tmp_path], "v")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no frames"):
        open_video([tmp_path], "empty")


def test_frames_are_pictures_like_others(tmp_path):
    for number, content in enumerate((several("MPO"), avif_with_damaged_pixels(), several("GIF")), start=1):
        (tmp_path / f"{number:05d}.jpg").write_bytes(content)
    video = open_path(tmp_path)
    assert video.read([1])[0].shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(InputError, match=r"00002.jpg: not a readable image: damaged or cut off"):
        video.read([2])
    with pytest.raises(InputError, match=r"00003.jpg: is animated"):
        video.read([3])


def test_a_real_video_equals_its_frames(shared_data):
    root = shared_data / "jhmdb_sentences"
    name = "Goal_Keeping_Tips_catch_f_cm_np1_fr_med_2"
    video = open_video([root / "ReCompress_Videos" / "catch"], name)
    folder = open_video([root / "Rename_Images" / "catch"], name)
    assert isinstance(video, VideoFile) and video.last == folder.last == 40
    for decoded, stored in zip(video.read([1, 20, 40]), folder.read([1, 20, 40]), strict=True):
        assert decoded.shape == stored.shape
        assert np.abs(decoded.astype(int) - stored).mean() < 3  # One of them was compressed once more.
    with pytest.raises(InputError, match="frame 41 cannot be decoded; is the file whole"):
        video.read([41])


def test_a_file_that_is_not_a_video_is_reported(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"v.mp4: not a video that OpenCV can decode"):
        open_video([tmp_path], "v").read([1])


@pytest.mark.parametrize("length, every", [(1, 1), (3, 2), (16, 8), (20, 1), (40, 8), (41, 20), (60, 30)])
def test_clips_of_a_stream(length, every):
    """The clip around every n-th frame, as if the whole video were at hand; few frames are held."""
    frames = ((np.full((1, 1, 3), number, np.uint8)) for number in range(1, length + 1))
    found = [(number, [int(frame[0, 0, 0]) for frame in clip]) for number, clip in clips_of(frames, every)]
    assert found == [(number, clip_numbers(number, length)) for number in range(1, length + 1, every)]
