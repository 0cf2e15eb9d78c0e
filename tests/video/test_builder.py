import json
import shutil

import h5py
import numpy as np
import pytest
import scipy.io

from a2d_layout import HEIGHT, WIDTH, make_a2d, write_h5
from cmpc_tf2.data.batches import list_batches, read_batch, split_folder
from cmpc_tf2.data.image_files import write_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.preprocessing.resizing import RESIZINGS
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_video_tf2.build_batches import main
from cmpc_video_tf2.config import R2D_FRAMES
from cmpc_video_tf2.data.clips import clip_numbers
from cmpc_video_tf2.data.datasets import A2DFiles, JHMDBFiles
from cmpc_video_tf2.data.samples import VideoSample

QUERIES = [("v", 0, "the man jumping"), ("v", 1, "Cat, climbing"), ("test", 1, "the cat")]


def samples_of(root, split, dataset="a2d_sent_new") -> list[VideoSample]:
    return [read_batch(path, VideoSample) for path in list_batches(root, dataset, split)]


def test_a_test_split_keeps_the_size_and_the_five_frames_that_are_read(tmp_path):
    arguments = make_a2d(tmp_path, {"v": 6, "test": 20}, QUERIES, annotated=(1, 10))
    assert main(["-d", "a2d", "-t", "test", *arguments]) == 0
    first, second = samples_of(tmp_path, "test")
    assert (first.frame_id, second.frame_id) == (1, 10) and first.expression == "the cat"
    assert second.frames.shape == (5, HEIGHT, WIDTH, 3) and second.mask.shape == (HEIGHT, WIDTH)
    numbers = [clip_numbers(10, 20)[index] for index in R2D_FRAMES]
    assert numbers == [2, 6, 10, 14, 17]
    assert second.frames[:, 0, 0, 0].tolist() == [10 * number for number in numbers]
    assert second.image[0, 0, 0] == 100 and first.image[0, 0, 0] == 10
    assert second.mask.sum() == HEIGHT * WIDTH // 4 and second.mask[-1, -1]
    words = Vocabulary.from_file(tmp_path / "words.txt")
    np.testing.assert_array_equal(first.token_ids, words.encode("the cat"))


def test_a_train_split_is_square_and_in_the_order_of_the_annotations(tmp_path):
    arguments = make_a2d(tmp_path, {"v": 6, "test": 6}, QUERIES)
    options = ["-d", "a2d", "-t", "train", "--image-size", "32", *arguments]
    assert main(options) == 0
    samples = samples_of(tmp_path, "train")
    assert [(s.expression, s.frame_id) for s in samples] == [
        ("the man jumping", 1), ("the man jumping", 5), ("cat, climbing", 1), ("cat, climbing", 5),
    ]  # fmt: skip
    half = np.zeros((HEIGHT, WIDTH), bool)
    half[:, : WIDTH // 2] = True
    np.testing.assert_array_equal(samples[0].mask, RESIZINGS["fit"].resize_mask(half, 32))
    # Frames 9, 13, 16 of the clip around frame 5 lie beyond the last one, the first before frame 1.
    values = [10, 10, 50, 60, 60]
    expected = [RESIZINGS["fit"].resize_image(np.full((HEIGHT, WIDTH, 3), value, np.uint8), 32) for value in values]
    np.testing.assert_array_equal(samples[1].frames, expected)
    assert main(["-d", "a2d", "-t", "train", "--image-size", "32", "--check", *arguments]) == 0


def test_workers_shards_and_a_second_run_change_no_byte(tmp_path):
    contents = []
    for name, options in {"one": [], "two": ["--workers", "2"], "parts": None}.items():
        root = tmp_path / name
        made = make_a2d(root, {"v": 6, "test": 6}, QUERIES)
        arguments = ["-d", "a2d", "-t", "train", "--image-size", "32", *made]
        if options is None:
            steps = (["--shard", "1/2"], ["--shard", "2/2"], ["--merge"])
            assert [main([*arguments, *step]) for step in steps] == [0, 0, 0]
        else:
            assert main([*arguments, *options]) == 0
        contents.append([path.read_bytes() for path in list_batches(root, "a2d_sent_new", "train")])
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) == 4


def test_all_frames_are_stored_as_the_original_does_and_read_alike(tmp_path):
    """The keys are those of the original; the five frames are those of the short form."""
    arguments = make_a2d(tmp_path, {"test": 20}, QUERIES[2:], annotated=(10,))
    assert main(["-d", "a2d", "-t", "test", *arguments]) == 0
    (short,) = samples_of(tmp_path, "test")
    assert main(["-d", "a2d", "-t", "test", "--all-frames", "--overwrite", *arguments]) == 0
    (path,) = list_batches(tmp_path, "a2d_sent_new", "test")
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: (arrays[name].dtype.kind, arrays[name].shape) for name in arrays.files}
        assert arrays["frames"][:, 0, 0, 0].tolist() == [10 * number for number in range(2, 18)]
    assert found == {
        "text_batch": ("i", (20,)), "im_batch": ("u", (HEIGHT, WIDTH, 3)), "mask_batch": ("b", (HEIGHT, WIDTH)),
        "sent_batch": ("U", (1,)), "frames": ("u", (16, HEIGHT, WIDTH, 3)), "frame_id": ("i", ()),
    }  # fmt: skip
    long = read_batch(path, VideoSample)
    five, sixteen = Preprocessing(16, frames=R2D_FRAMES), Preprocessing(16, frames=tuple(range(16)))
    assert long.digest == short.digest
    np.testing.assert_array_equal(long.fitted(five), short.fitted(five))
    np.testing.assert_array_equal(long.image, short.image)
    assert not long.fitted(five)[1].any() and long.fitted(five)[4].any()
    fitted = long.fitted(sixteen)
    assert [round(int(frame.max()), -1) for frame in fitted] == [10 * number for number in range(2, 18)]
    long.require_fit(sixteen)
    short.require_fit(five)
    with pytest.raises(InputError, match="holds 5 frames of the clip, but the model reads 16"):
        short.require_fit(sixteen)


def test_clips_of_short_videos_repeat_their_ends(tmp_path):
    arguments = make_a2d(tmp_path, {"test": 1}, QUERIES[2:], annotated=(1,))
    assert main(["-d", "a2d", "-t", "test", *arguments]) == 0
    (sample,) = samples_of(tmp_path, "test")
    assert sample.frames[:, 0, 0, 0].tolist() == [10] * 5


def test_unusable_samples_are_reported_and_skipped(tmp_path, capsys):
    queries = [
        *QUERIES[:1], ("v", 7, "the cat"), ("v", 0, "."), ("gone", 0, "the man"), ("empty", 0, "the man"),
        ("unlisted", 0, "the man"), ("holes", 0, "the man"), ("bare", 0, "the man"), ("damaged", 0, "the man"),
        ("junk", 0, "the man"), ("short", 0, "the man"),
    ]  # fmt: skip
    videos = dict.fromkeys(("v", "gone", "empty", "unlisted", "holes", "bare", "damaged", "junk"), 6)
    videos["short"] = 3
    arguments = make_a2d(tmp_path, videos, queries, annotated=(5,))
    files = A2DFiles.below(tmp_path / "a2d_sentences")
    for name in ("gone", "junk"):
        shutil.rmtree(files.frames[0] / name)
    (files.frames[0] / "junk.mp4").write_bytes(b"not a video")
    nothing = np.zeros((2, WIDTH, HEIGHT), np.uint8)
    write_h5(files.masks / "empty" / "00005.h5", instance=[0, 1], reMask=nothing)
    lines = files.splits.read_text().splitlines(keepends=True)
    files.splits.write_text("".join(line for line in lines if "unlisted" not in line))
    (files.frames[0] / "holes" / "00005.png").unlink()
    (files.masks / "bare" / "00005.h5").unlink()
    write_h5(files.masks / "damaged" / "00005.h5", instance=[0, 1])
    assert main(["-d", "a2d", "-t", "train", "--image-size", "32", *arguments]) == 1
    assert len(samples_of(tmp_path, "train")) == 1
    manifest = json.loads((split_folder(tmp_path, "a2d_sent_new", "train") / "manifest.json").read_text())
    reasons = [entry["reason"] for entry in manifest["skipped"]]
    expected = (
        "has no instance 7; it has [0, 1]",
        "has no words",
        "gone: no folder of frames and no .mp4 or .avi file in",
        "its mask has no pixel",
        "its video is not in",
        "holes: frame 5 of 6 is missing",
        "no annotated frame (.h5) in",
        "has no reMask; not an annotation of A2D-Sentences",
        "junk.mp4: not a video that OpenCV can decode",
        "short: has 3 frames, but frame 5 is annotated",
    )
    assert len(reasons) == len(expected)
    for reason, words in zip(reasons, expected, strict=True):
        assert words in reason
    printed = capsys.readouterr()
    assert "2 left out by the data set's protocol" in printed.out
    assert "8 samples skipped; --skip-errors accepts that" in printed.err
    assert main(["-d", "a2d", "-t", "train", "--image-size", "32", "--overwrite", "--skip-errors", *arguments]) == 0


def test_a_mask_of_another_size_is_refused(tmp_path):
    arguments = make_a2d(tmp_path, {"test": 6}, QUERIES[2:], annotated=(5,))
    masks = A2DFiles.below(tmp_path / "a2d_sentences").masks
    write_h5(masks / "test" / "00005.h5", instance=[0], reMask=np.ones((8, 6), np.uint8))
    assert main(["-d", "a2d", "-t", "test", *arguments]) == 1


@pytest.mark.parametrize(
    "name, words",
    [
        ("a2d_sentences/Release/videoset.csv", "videoset.csv: no such file"),
        ("a2d_sentences/a2d_annotation.txt", "a2d_annotation.txt: no such file; data/README.md says"),
        ("words.txt", "words.txt: no such vocabulary"),
    ],
)
def test_missing_files_are_reported(name, words, tmp_path, capsys):
    arguments = make_a2d(tmp_path, {"test": 6}, QUERIES[2:])
    (tmp_path / name).unlink()
    assert main(["-d", "a2d", "-t", "test", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_unknown_datasets_and_splits_are_reported(capsys):
    assert main(["-d", "unc", "-t", "test"]) == 2
    assert "unknown dataset 'unc'; known: a2d_sent_new (a2d, a2d_sentences), jhmdb_sent" in capsys.readouterr().err
    assert main(["-d", "jhmdb", "-t", "train"]) == 2
    assert "jhmdb_sent has no split 'train'; it has test" in capsys.readouterr().err


def make_jhmdb(root, length=12):
    files = JHMDBFiles.below(root / "jhmdb_sentences")
    folder = files.frames[0] / "catch" / "clip"
    folder.mkdir(parents=True)
    for number in range(1, length + 1):
        write_image(folder / f"{number:05d}.png", np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8))
    (files.masks / "catch" / "clip").mkdir(parents=True)
    masks = np.zeros((HEIGHT, WIDTH, length), np.uint8)
    for number in range(length):
        masks[: number + 1, :3, number] = 1
    scipy.io.savemat(files.masks / "catch" / "clip" / "puppet_mask.mat", {"part_mask": masks})
    files.queries.write_text("video_id,query\nclip,the man catching\nnone,the man\n")
    (root / "words.txt").write_text("<pad>\n<go>\n<eos>\n<unk>\nthe\nman\n")
    return files, ["--data-root", str(root), "--vocabulary", str(root / "words.txt"), "--output-root", str(root)]


def test_jhmdb_is_tested_on_three_frames_of_each_clip(tmp_path, capsys):
    _, arguments = make_jhmdb(tmp_path)
    assert main(["-d", "jhmdb", "-t", "test", *arguments]) == 1
    samples = samples_of(tmp_path, "test", "jhmdb_sent")
    assert [sample.frame_id for sample in samples] == [3, 7, 11]
    assert [sample.image[0, 0, 0] for sample in samples] == [30, 70, 110]
    assert [int(sample.mask.sum()) for sample in samples] == [9, 21, 33]
    assert "video none" in capsys.readouterr().err


def test_jhmdb_takes_the_frames_of_a_published_list(tmp_path, capsys):
    files, arguments = make_jhmdb(tmp_path)
    files.chosen.write_text(
        json.dumps([["clip", "./x/clip/00002.png", "./m.mat", 12, "the man"], ["clip", "x/00009.png"]])
    )
    assert main(["-d", "jhmdb", "-t", "test", "--skip-errors", *arguments]) == 0
    assert [sample.frame_id for sample in samples_of(tmp_path, "test", "jhmdb_sent")] == [2, 9]
    manifest = json.loads((split_folder(tmp_path, "jhmdb_sent", "test") / "manifest.json").read_text())
    assert [entry["reference"] for entry in manifest["skipped"]] == ["video none"]
    files.chosen.write_text(json.dumps([["other", "x/00009.png"]]))
    assert main(["-d", "jhmdb", "-t", "test", "--overwrite", *arguments]) == 1
    assert "jhmdb_sentences_samples_metadata.json does not list it" in capsys.readouterr().err
    capsys.readouterr()
    for content in ("{}{", "{}", "[7]", '["clip"]', '[["clip", 9]]', '[["clip", "x/nine.png"]]', "[" * 200_000):
        files.chosen.write_text(content)
        assert main(["-d", "jhmdb", "-t", "test", "--overwrite", *arguments]) == 1
        assert f"error: {files.chosen}: " in capsys.readouterr().err


def test_a_damaged_mask_of_jhmdb_is_skipped(tmp_path, capsys):
    files, arguments = make_jhmdb(tmp_path)
    (files.masks / "catch" / "clip" / "puppet_mask.mat").write_bytes(b"damaged")
    assert main(["-d", "jhmdb", "-t", "test", *arguments]) == 1
    assert "puppet_mask.mat: not a readable .mat file" in capsys.readouterr().err


def test_a_picture_batch_is_not_a_clip_batch(tmp_path, squares):
    path = list_batches(squares, "unc", "val")[0]
    with pytest.raises(InputError, match=r"not a batch of clips: no frame_id, frames"):
        read_batch(path, VideoSample)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"frames": np.zeros((4, HEIGHT, WIDTH, 3), np.uint8)}, r"frames: expected uint8 \(16 or 5, 24, 40, 3\)"),
        ({"frames": np.zeros((5, HEIGHT, WIDTH, 3))}, "frames: expected uint8"),
        ({"frame_id": np.array([1, 2])}, "frame_id: expected a whole number"),
    ],
)
def test_damaged_clips_are_reported(change, words, tmp_path):
    arguments = make_a2d(tmp_path, {"test": 6}, QUERIES[2:], annotated=(5,))
    assert main(["-d", "a2d", "-t", "test", *arguments]) == 0
    (path,) = list_batches(tmp_path, "a2d_sent_new", "test")
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **{**content, **change})
    with pytest.raises(InputError, match=words):
        read_batch(path, VideoSample)


def test_h5_files_of_the_released_form_are_read(tmp_path):
    """MATLAB's HDF5 files store ids as doubles in a row."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["instance"] = np.array([[0.0, 1.0]])
        file["reMask"] = np.stack([np.ones((WIDTH, HEIGHT)), np.zeros((WIDTH, HEIGHT))])
    from cmpc_video_tf2.data.annotations import read_a2d_mask

    assert read_a2d_mask(tmp_path / "m.h5", 0).all() and not read_a2d_mask(tmp_path / "m.h5", 1).any()
