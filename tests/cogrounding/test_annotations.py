"""Annotated boxes and the authors' lists, against the original where it has numbers."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from cmpc_tf2.conversion.torch_reader import read_torch_object
from cmpc_tf2.conversion.torch_writer import write_torch_file
from cmpc_tf2.data.boxes import require_boxes
from cmpc_tf2.data.datasets import Sources, find_dataset
from cmpc_tf2.errors import InputError
from cogrounding_tf2.data.annotations import (
    box_of_mask,
    read_listed,
    read_refer,
    read_vid,
    window,
)
from cogrounding_tf2.data.datasets import BOX_DATASETS
from cogrounding_tf2.data.original_files import ListedBox, read_corpus, read_split, read_videos, read_words
from original import GOLDEN
from refer_layout import make_refer

FOLDER = GOLDEN / "cogrounding"
CORPUS, VIDEOS = FOLDER / "cogrounding_corpus.pth", FOLDER / "cogrounding_VID_video_level_test.pth"


def test_the_authors_vocabulary():
    expected = np.load(FOLDER / "cogrounding_vid.npz")["words"].tolist()
    assert read_corpus(CORPUS) == read_words(CORPUS, 37) == expected
    with pytest.raises(InputError, match=r"cogrounding_corpus.pth: 37 words, but the model has 36"):
        read_words(CORPUS, 36)


def test_only_the_two_classes_are_read():
    with pytest.raises(InputError, match=r"corpus.pth: names utils.word_utils.Corpus; only tensors"):
        read_torch_object(CORPUS)
    with pytest.raises(InputError, match=r"corpus.pth: names utils.word_utils.Dictionary; only tensors"):
        read_torch_object(CORPUS, ("utils.word_utils.Corpus",))


@pytest.mark.parametrize("change", [lambda content: content.replace(b"K$", b"K\x01"), lambda content: content[:500]])
def test_damaged_vocabularies(change, tmp_path):
    content = CORPUS.read_bytes()
    assert change(content) != content
    (tmp_path / "corpus.pth").write_bytes(change(content))
    with pytest.raises(InputError, match=r"corpus.pth: (not a vocabulary of the authors|is damaged)"):
        read_words(tmp_path / "corpus.pth")


def test_a_checkpoint_is_no_vocabulary(tmp_path):
    write_torch_file(tmp_path / "corpus.pth", {"state_dict": {}})
    with pytest.raises(InputError, match=r"corpus.pth: not a vocabulary of the authors"):
        read_words(tmp_path / "corpus.pth")


def test_text_vocabularies(tmp_path):
    (tmp_path / "words.txt").write_text("<pad>\n<eos>\n<unk>\na b\n", encoding="utf-8")
    assert read_words(tmp_path / "words.txt") == ["<pad>", "<eos>", "<unk>", "a", "b"]
    with pytest.raises(InputError, match=r"none.pth: no such vocabulary"):
        read_words(tmp_path / "none.pth")


@pytest.mark.parametrize("frames", [2, 5])
def test_items_of_clips(frames):
    """The golden has items of five frames; those of two are the middle of `chunk/2`."""
    golden = np.load(FOLDER / "cogrounding_vid.npz")
    references = read_vid(VIDEOS, None, frames)
    assert len(references) == 11 and all(reference.annotated == frames // 2 for reference in references)
    for number, reference in enumerate(references):
        assert reference.expressions == (golden["annotation/sentence"][golden["annotation/clip"][number]],)
        boxes = reference.find_boxes(90, 140)
        assert boxes[frames // 2].tolist() == golden["annotation/boxes"][number].tolist()
        names = [Path(name) for name in golden[f"item/{number}/names"]]
        if frames == 2:
            names = names[1:3]
        assert list(reference.files) == names
        (fields,) = reference.fields
        assert fields["clip"] == [f"{name.parent.name}/{name.stem}" for name in names]
        assert f"{fields['video_id']}/{fields['frame_id']}" == fields["clip"][frames // 2]
        assert f"{fields['video_id']}/{fields['frame_id']}_{number}.pth" in golden["cache/files"][number]


@pytest.mark.parametrize("frames", [2, 5])
def test_windows_equal_the_originals(frames):
    names = np.load(FOLDER / "cogrounding_data.npz")[f"chunk/{frames}/names"]
    found = [[f"vid{video}/{index:06d}.JPEG" for index in window(number, length, frames)]
             for video, length in enumerate((4, 3)) for number in range(length)]  # fmt: skip
    assert found == names.tolist()


def test_a_video_of_one_frame_is_a_clip():
    assert window(0, 1, 5) == [0] * 5


def test_paths_of_the_authors_are_found_by_their_end(tmp_path):
    entry = ("/home/author/ILSVRC2015/Data/VID/train/a/000000.JPEG", [0, 0, 5, 5], "the cat")
    other = ("/home/author/ILSVRC2015/Data/VID/train/a/000001.JPEG", [0, 0, 5, 5], "the cat")
    write_torch_file(tmp_path / "list.pth", [[entry, other]])
    (tmp_path / "here/VID/train/a").mkdir(parents=True)
    (tmp_path / "here/VID/train/a/000000.JPEG").touch()
    (tmp_path / "here/000000.JPEG").touch()
    for images in ("here", "here/VID", "here/VID/train"):
        found = read_vid(tmp_path / "list.pth", tmp_path / images, 2)[1].files
        assert found == tuple(tmp_path / f"here/VID/train/a/00000{number}.JPEG" for number in (0, 1))
    found = read_vid(tmp_path / "list.pth", tmp_path / "here/VID/train/a", 2)[0].files[0]
    assert not found.exists()  # A file name without a folder fits every video.


def test_lists_of_pictures(tmp_path):
    entries = [
        ("b.jpg", "1.pth", [10.5, 20.25, 30.0, 4.5], "Left cup", [("r1", ["none"])]),
        ("a.jpg", 0, [1, 2, 3, 4], "", 0),
    ]
    write_torch_file(tmp_path / "unc_val.pth", entries)
    assert read_split(tmp_path / "unc_val.pth") == [
        ListedBox("b.jpg", (10.5, 20.25, 40.5, 24.75), "Left cup"),
        ListedBox("a.jpg", (1, 2, 4, 6), ""),
    ]
    first, second = read_listed(tmp_path / "unc_val.pth", tmp_path)
    assert first.files == (tmp_path / "b.jpg",) and second.find_boxes(9, 9).tolist() == [[1, 2, 4, 6]]


BAD_LISTS = {
    "expected a list for the file, found an object": {"a": 1},
    "video 0: expected a list for the video, found 3": [3],
    "video 0: frame 1: expected three values": [[("a", [1, 2, 3, 4], "b"), ("a", "b")]],
    "frame 0: expected a box of four numbers": [[("a", [1, 2, 3], "b")]],
    "frame 0: expected a box of four": [[("a", [1, 2, 3, float("nan")], "b")]],
    "frame 0: expected a box": [[("a", [1, 2, 3, 10**30], "b")]],
    "frame 0: expected text for the file name, found 1": [[(1, [1, 2, 3, 4], "b")]],
    "frame 0: expected text for the sentence, found null": [[("a", [1, 2, 3, 4], None)]],
    "frame 0: expected a file name, found ''": [[("", [1, 2, 3, 4], "b")]],
}


@pytest.mark.parametrize("message, content", BAD_LISTS.items())
def test_bad_lists(message, content, tmp_path):
    write_torch_file(tmp_path / "list.pth", content)
    with pytest.raises(InputError, match=f"list.pth: expected a list of videos, .*: {message}") as failure:
        read_videos(tmp_path / "list.pth")
    assert "\n" not in str(failure.value)


def test_boxes_can_be_tensors(tmp_path):
    write_torch_file(tmp_path / "list.pth", [[("a", np.array([1, 2, 3, 4]), "b")]])
    assert read_videos(tmp_path / "list.pth")[0][0].box == (1, 2, 3, 4)


def test_a_list_that_is_shared_by_many_videos_is_refused(tmp_path):
    from torch_files import pickled, zip_file

    # A list of 30 numbers, put into the memo, which a list of 200 videos then repeats.
    body = b"](]q\x00(" + b"K\x01" * 30 + b"e" + b"h\x00" * 200 + b"e"
    (tmp_path / "list.pth").write_bytes(zip_file(pickled(body), {}))
    with pytest.raises(InputError, match="video 0: frame 0: expected three values"):
        read_videos(tmp_path / "list.pth")
    frame = b"X\x01\x00\x00\x00a](K\x00K\x00K\x01K\x01eX\x01\x00\x00\x00a\x87"
    body = b"](]q\x00(" + frame + b"q\x01" + b"h\x01" * 30 + b"e" + b"h\x00" * 200 + b"e"
    (tmp_path / "list.pth").write_bytes(zip_file(pickled(body), {}))
    with pytest.raises(InputError, match="expected frames of its own, found more than the file has bytes"):
        read_videos(tmp_path / "list.pth")


def test_missing_lists(tmp_path):
    with pytest.raises(InputError, match=r"a.pth: no such list; get it from the authors \(--split-root"):
        read_videos(tmp_path / "a.pth")


def refer(root: Path, **options) -> list:
    dataset = find_dataset("unc", "val", BOX_DATASETS)
    annotations = tuple(root / "refer" / name for name in dataset.annotations)
    return read_refer(dataset, "val", Sources(annotations, root / "images", None, root / "words.txt"))


def edit(root: Path, change):
    path = root / "refer" / "refcoco" / "instances.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        change(annotation)
    path.write_text(json.dumps(content))


def test_references_are_in_the_order_of_their_file_names(tmp_path):
    make_refer(tmp_path, [{"ref_id": n, "split": "val", "sentences": ["a"]} for n in (1, 2, 3)])
    path = tmp_path / "refer" / "refcoco" / "refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    for ref, name in zip(refs, ("b_2.jpg", "a_10.jpg", "a_1.jpg"), strict=True):
        ref["file_name"] = name
    path.write_bytes(pickle.dumps(refs, protocol=2))
    assert [reference.name for reference in refer(tmp_path)] == ["ref 3", "ref 2", "ref 1"]


def test_boxes_of_annotations_and_of_masks(tmp_path):
    make_refer(tmp_path, [{"ref_id": 1, "split": "val", "sentences": ["a", "b"]}])
    (reference,) = refer(tmp_path)
    assert reference.find_boxes(40, 60).tolist() == [[10, 5, 30, 25]]
    assert [fields["image_id"] for fields in reference.fields] == [1, 1]
    edit(tmp_path, lambda annotation: annotation.update(bbox=[1.5, 2, 10, 20.25]))
    assert refer(tmp_path)[0].find_boxes(40, 60).tolist() == [[1.5, 2, 11.5, 22.25]]


@pytest.mark.parametrize("box", [[1, 2, 3], "box", [1, 2, 3, None], [0, 0, 10**400, 1]])
def test_bad_boxes_of_annotations(box, tmp_path):
    make_refer(tmp_path, [{"ref_id": 1, "split": "val", "sentences": ["a"]}])
    edit(tmp_path, lambda annotation: annotation.update(bbox=box))
    with pytest.raises(InputError, match="annotation 101: bbox: expected a box of four numbers"):
        refer(tmp_path)[0].find_boxes(40, 60)


def test_boxes_have_to_lie_in_their_pictures():
    require_boxes(np.array([[0, 0, 60.5, 40], [-0.5, 0, 1, 1]]), 40, 60)
    for box in ([0, 0, 62, 10], [-2, 0, 1, 1], [0, 30, 10, 42], [70, 0, 80, 10]):
        with pytest.raises(InputError, match="expected a box within its picture of 60 x 40 pixels, found"):
            require_boxes(np.array([[0, 0, 1, 1], box]), 40, 60)
    for box in ([5, 0, 5, 10], [5, 9, 6, 3]):
        with pytest.raises(InputError, match="expected a box with x1 < x2 and y1 < y2, found"):
            require_boxes(np.array([box]), 40, 60)


def test_boxes_of_masks():
    mask = np.zeros((10, 20), bool)
    mask[3:5, 7:12] = True
    assert box_of_mask(mask).tolist() == [7, 3, 12, 5]
    with pytest.raises(InputError, match="its mask has no pixel"):
        box_of_mask(~mask & False)
