"""The builder of splits of pictures with all their objects, and evaluation on them."""

import functools
import json

import numpy as np
import pytest

import build_batches
from cmpc_tf2.cli import main
from cmpc_tf2.data import image_builder
from cmpc_tf2.data.annotations import read_plain_pickle
from cmpc_tf2.data.batches import Sample, list_batches, read_batch, read_manifest
from cmpc_tf2.data.coco_categories import COCO_CATEGORIES, category_names, class_indices
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.data.sample_fields import read_fields
from cmpc_tf2.data.segmentations import encode_run_lengths
from cmpc_tf2.data.shapes import KINDS, compose, write_shapes
from refer_layout import make_refer
from small import WORDS


def samples_of(root, dataset, split, kind=ObjectSample):
    return [read_batch(path, kind) for path in list_batches(root, dataset, split, kind)]


def annotate(root, changes=(), more=()):
    """Gives the annotations of `make_refer` a picture, a box and a category; `changes` by id, and `more` of them."""
    path = root / "refer" / "refcoco" / "instances.json"
    annotations = json.loads(path.read_text())["annotations"]
    for one in annotations:
        one |= {
            "image_id": one["id"] - 100,
            "bbox": [10, 5, 20, 20.5],
            "category_id": 90,
            **dict(changes).get(one["id"], {}),
        }
    path.write_text(json.dumps({"annotations": [*more[:1], *annotations, *more[1:]]}))


@pytest.fixture
def refer(tmp_path):
    """The options that build a split of two references."""
    references = [
        {"ref_id": 1, "split": "train", "sentences": ["Left man.", "."]},
        {"ref_id": 2, "split": "val", "sentences": ["red man", "man"]},
    ]
    return make_refer(tmp_path, references)


def test_all_objects_of_the_picture_are_stored(refer, tmp_path, capsys):
    more = [
        {"id": 7, "image_id": 2, "bbox": [0, 0, 60.4, 40], "category_id": 13},
        {"id": 8, "image_id": 1, "bbox": [1, 1, 2, 2], "category_id": 1},
        {"id": 9, "image_id": 2, "bbox": [4, 4, 0, 3], "category_id": 1},
        {"id": 10, "image_id": 2, "bbox": [1, 1.5, 2, 2], "category_id": 1},
    ]
    annotate(tmp_path, more=more)
    assert build_batches.main(["-d", "refcoco", "-t", "val", "--objects", *refer]) == 0
    first, second = samples_of(tmp_path, "unc", "val")
    assert first.boxes.tolist() == [[0, 0, 60.4, 40], [10, 5, 20, 20.5], [1, 1.5, 2, 2]]
    assert first.categories.tolist() == [12, 80, 1] and first.object == 1 and first.attributes == ()
    assert first.file.tobytes() == (tmp_path / "images" / "COCO_train2014_000000000002.jpg").read_bytes()
    assert (first.expression, second.expression) == ("red man", "man")
    assert first.token_ids.tolist() == [0] * 18 + [4, 5]
    assert first.mask.sum() == 400 and first.mask[5:25, 10:30].all()
    folder = tmp_path / "unc" / "val_batch"
    assert read_fields(folder, 2) == [{"image_id": 2, "ref_id": 2, "same_category": 1}] * 2
    assert read_manifest(folder)["settings"] == {"objects": True, "max_words": 20, "compress": False}
    assert build_batches.main(["-d", "unc", "-t", "val", "--objects", "--check", *refer]) == 0
    assert "2 batches, all as the manifest says" in capsys.readouterr().out


def test_train_pictures_keep_their_size_too(refer, tmp_path):
    annotate(tmp_path)
    assert build_batches.main(["-d", "unc", "-t", "train", "--objects", "--skip-errors", *refer]) == 0
    (sample,) = samples_of(tmp_path, "unc", "train")
    assert sample.image.shape == (40, 60, 3) and sample.has_train_size(320)
    (skipped,) = read_manifest(tmp_path / "unc" / "train_batch")["skipped"]
    assert skipped["reason"] == "has no words"


BAD_ANNOTATIONS = {
    "annotation 102: bbox: expected a box of four numbers": {"bbox": [1, 2, 3]},
    "annotation 102: bbox: expected a box with x1 < x2 and y1 < y2, found [1, 2, 1, 5]": {"bbox": [1, 2, 0, 3]},
    "annotation 102: bbox: expected a box within its picture of 60 x 40 pixels, found [1, 2, 63, 5]": {
        "bbox": [1, 2, 62, 3]
    },
    "annotation 102: expected a known category_id, found 12": {"category_id": 12},
    "annotation 102: expected a whole number for category_id, found null": {"category_id": None},
    "annotation 102 is not among the objects of the picture": {"image_id": 1},
    "its mask has no pixel inside the picture": {"segmentation": [[90.0, 90, 99, 90, 99, 99]]},
}


@pytest.mark.parametrize("reason, change", BAD_ANNOTATIONS.items())
def test_what_is_wrong_with_an_annotation_is_named(reason, change, refer, tmp_path, capsys):
    annotate(tmp_path, {102: change})
    assert build_batches.main(["-d", "unc", "-t", "val", "--objects", *refer]) == 1
    error = capsys.readouterr().err
    assert f"skipped: ref 2 'red man': {reason}\n" in error and "nothing to write: all 2 samples were skipped" in error
    assert not (tmp_path / "unc" / "val_batch").exists()


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["-d", "referit", "-t", "val"], 2, "--objects: expected a data set in REFER's layout: unc (refcoco), "),
        (["-d", "cats", "-t", "val", "--annotations", "a.csv"], 2, "--objects: expected a data set in REFER's layout"),
        (["-d", "unc", "-t", "train", "--image-size", "64"], 2, "--image-size: with --objects, pictures are stored as"),
        (["-d", "unc", "-t", "train", "--resizing", "stretch"], 2, "--resizing: with --objects, pictures are stored"),
        (["-d", "unc", "-t", "test"], 2, "unc has no split 'test'"),
        (["-d", "unc", "-t", "val"], 1, "no such vocabulary"),
    ],
)
def test_what_cannot_be_built_is_named(options, status, message, tmp_path, capsys):
    roots = ["--data-root", str(tmp_path), "--output-root", str(tmp_path)]
    assert build_batches.main([*options, "--objects", *roots]) == status
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_split_of_masks_is_not_replaced(refer, tmp_path, capsys):
    annotate(tmp_path)
    options = ["-d", "unc", "-t", "val", *refer]
    assert build_batches.main(options) == 0
    assert build_batches.main([*options, "--objects"]) == 1
    assert "already holds 2 batches; --overwrite replaces them" in capsys.readouterr().err
    assert len(samples_of(tmp_path, "unc", "val", Sample)) == 2
    assert build_batches.main([*options, "--objects", "--check"]) == 1
    assert "not a batch of pictures with their objects" in capsys.readouterr().err
    assert build_batches.main([*options, "--objects", "--overwrite"]) == 0
    assert len(samples_of(tmp_path, "unc", "val")) == 2


def test_workers_and_shards_change_no_byte(refer, tmp_path):
    annotate(tmp_path)
    options = ["-d", "unc", "-t", "val", "--objects", "--overwrite", *refer]
    found = []
    for more in (["--workers", "1"], ["--workers", "2"], ["--shard", "1/1"]):
        assert build_batches.main([*options, *more]) == 0
        found.append([path.read_bytes() for path in list_batches(tmp_path, "unc", "val", ObjectSample)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "folder, dataset, splits", [("refcoco", "unc", ("testA", "testB")), ("refcocog", "Gref", ("val",))]
)
def test_real_annotations(folder, dataset, splits, shared_data, tmp_path):
    """Boxes and categories are those of the file, masks those of a split of masks."""
    root = shared_data / "refer_mini"
    options = ["--refer-root", str(root), "--image-root", str(root / "images" / "mscoco" / "images" / "train2014")]
    options += ["--vocabulary", str(shared_data / "vocab" / "vocabulary_Gref.txt")]
    instances = json.loads((root / folder / "instances.json").read_text())
    names = {one["id"]: one["name"] for one in instances["categories"]}
    assert names == COCO_CATEGORIES
    (refs,) = (root / folder).glob("*.p")
    annotation_ids = {ref["ref_id"]: ref["ann_id"] for ref in read_plain_pickle(refs)}
    for split in splits:
        common = ["-d", dataset, "-t", split, *options, "--output-root"]
        assert build_batches.main([*common, str(tmp_path / "objects"), "--objects"]) == 0
        assert build_batches.main([*common, str(tmp_path / "masks")]) == 0
        samples = samples_of(tmp_path / "objects", dataset, split)
        masks = samples_of(tmp_path / "masks", dataset, split, Sample)
        fields = read_fields(tmp_path / "objects" / dataset / f"{split}_batch", len(samples))
        assert fields == read_fields(tmp_path / "masks" / dataset / f"{split}_batch", len(masks))
        for sample, other, field in zip(samples, masks, fields, strict=True):
            annotations = [one for one in instances["annotations"] if one["image_id"] == field["image_id"]]
            assert sample.boxes.tolist() == [one["bbox"] for one in annotations]
            found = [category_names(dataset)[number] for number in sample.categories]
            assert found == [names[one["category_id"]] for one in annotations]
            assert annotations[sample.object]["id"] == annotation_ids[field["ref_id"]]
            np.testing.assert_array_equal(sample.mask, other.mask)
            np.testing.assert_array_equal(sample.image, other.image)
            np.testing.assert_array_equal(sample.token_ids, other.token_ids)
            assert sample.describe() == other.describe()


def prepare(root, with_masks: bool, **changes) -> list[str]:
    """Writes the split of `refer` in the form of MAttNet's or CAC's authors; returns the options."""
    sign, brush = (12, 80) if with_masks else (13, 90)
    boxes = [(50, [0, 0, 9, 9], sign), (102, [10, 5, 20, 20.5], brush), (51, [1, 1, 2, 2], brush)]
    ref = {"ref_id": 2, "ann_id": 102, "image_id": 2, "split": "val", "sent_ids": [0, 1], "att_wds": ["red", "left"]}
    picture = {"image_id": 2, "file_name": "COCO_train2014_000000000002.jpg", "height": 40, "width": 60}
    content = {
        "images": [{**picture, "ann_ids": [50, 102, 51], "ref_ids": [2], "h5_id": 0}],
        "anns": [
            {"ann_id": number, "box": box, "category_id": category, "image_id": 2, "h5_id": row}
            for row, (number, box, category) in enumerate(boxes)
        ],
        "refs": [ref],
        "sentences": [
            {"sent_id": 0, "tokens": ["red", "man"], "h5_id": 0},
            {"sent_id": 1, "tokens": ["man"], "h5_id": 1},
        ],
        "word_to_ix": {"<PAD>": 0, "red": 1, "man": 2, "<UNK>": 3, "<BOS>": 4, "<EOS>": 5},
        "att_to_ix": {"red": 0, "left": 1},
        "att_to_cnt": {"red": 3, "left": 2},
        "cat_to_ix": {"stop sign": sign, "toothbrush": brush},
        "label_length": 10,
    }
    if with_masks:
        mask = np.zeros((40, 60), bool)
        mask[6:9, 10:30] = True
        ref["rle"] = [encode_run_lengths(mask)]
    content["refs"][0] |= changes
    folder = root / "prepro"
    folder.mkdir()
    (folder / "data.json").write_text(json.dumps(content))
    return ["-d", "unc", "-t", "val", "--objects", "--prepro", str(folder)]


@pytest.mark.parametrize("with_masks", [False, True])
def test_the_authors_prepared_data(with_masks, refer, tmp_path):
    """Masks are those of the file if it has some, and otherwise of the instances file."""
    if with_masks:
        (tmp_path / "refer" / "refcoco" / "instances.json").unlink()
    (tmp_path / "refer" / "refcoco" / "refs(unc).p").unlink()
    assert build_batches.main([*prepare(tmp_path, with_masks), *refer]) == 0
    first, second = samples_of(tmp_path, "unc", "val")
    assert first.boxes.tolist() == [[0, 0, 9, 9], [10, 5, 20, 20.5], [1, 1, 2, 2]] and first.object == 1
    assert first.categories.tolist() == [12, 80, 80] and first.attributes == ("red", "left")
    assert (first.expression, second.expression) == ("red man", "man")
    assert first.token_ids.tolist() == [0] * 18 + [4, 5]
    assert first.mask.sum() == (60 if with_masks else 400)
    folder = tmp_path / "unc" / "val_batch"
    assert read_fields(folder, 2) == [{"image_id": 2, "ref_id": 2, "same_category": 2}] * 2
    files = [source["file"].rpartition("/")[2] for source in read_manifest(folder)["sources"]]
    assert files == ["data.json", *([] if with_masks else ["instances.json"]), "words.txt"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"split": "testA"}, "data.json: holds nothing of the split 'val'"),
        ({"rle": [{"size": [40, 61], "counts": "0"}]}, "has a mask of 40 x 61 pixels, its image is 40 x 60"),
        ({"att_wds": 3}, "expected a list for att_wds, found 3"),
    ],
)
def test_prepared_data_that_cannot_be_used(changes, message, refer, tmp_path, capsys):
    assert build_batches.main([*prepare(tmp_path, True, **changes), *refer]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "unc" / "val_batch").exists()


def test_missing_prepared_data(refer, tmp_path, capsys):
    options = ["-d", "unc", "-t", "val", "--prepro", str(tmp_path / "none"), *refer]
    assert build_batches.main([*options, "--objects"]) == 1
    assert str(tmp_path / "none" / "data.json") in capsys.readouterr().err
    assert build_batches.main(options) == 2
    assert capsys.readouterr().err == "error: --prepro: expected with --objects; add it\n"
    assert build_batches.main(["-d", "shapes", *options[2:], "--objects"]) == 2
    assert "--prepro: expected a data set that the authors prepared; received shapes" in capsys.readouterr().err


def test_names_of_categories():
    names = category_names("unc")
    assert len(names) == 81 and (names[1], names[12], names[80]) == ("person", "stop sign", "toothbrush")
    assert class_indices("unc+")[13] == 12 and class_indices("Gref")[90] == 80
    assert category_names("shapes") == ("__background__", *KINDS) and class_indices("shapes")[2] == 2


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """`shapes` val, as masks and as objects, with the vocabulary of small models; returns the folder."""
    root = tmp_path_factory.mktemp("drawn")
    (root / "words.txt").write_text("\n".join(WORDS) + "\n")
    options = ["-d", "shapes", "-t", "val", "--data-root", str(root), "--vocabulary", str(root / "words.txt")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_builder, "write_shapes", functools.partial(write_shapes, images=30))
        assert build_batches.main([*options, "--output-root", str(root / "objects"), "--objects"]) == 0
        assert build_batches.main([*options, "--output-root", str(root / "masks")]) == 0
    return root


def test_the_objects_of_shapes_are_all_that_are_drawn(drawn):
    samples = samples_of(drawn / "objects", "shapes", "val")
    fields = read_fields(drawn / "objects" / "shapes" / "val_batch", len(samples))
    assert max(len(sample.boxes) for sample in samples) > 3
    for sample, field in zip(samples, fields, strict=True):
        picture = compose(field["image_id"], "val", seed=0)
        names = category_names("shapes")
        assert [names[number] for number in sample.categories] == [shape.kind for shape in picture.scene]
        x, y, width, height = sample.boxes.T
        centres = [[shape.x, shape.y] for shape in picture.scene if shape.kind == "circle"]
        is_circle = sample.categories == 1 + KINDS.index("circle")
        found = np.stack([x + width / 2, y + height / 2], axis=1)[is_circle]
        np.testing.assert_allclose(found, np.reshape(centres, (-1, 2)), atol=1)
        rows, columns = np.nonzero(sample.mask)
        expected = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert sample.boxes[sample.object].tolist() == expected
        assert field["same_category"] == np.sum(sample.categories == sample.categories[sample.object])


def test_shapes_of_earlier_versions_have_to_be_drawn_again(drawn, tmp_path, capsys):
    (tmp_path / "refer" / "shapes").mkdir(parents=True)
    for name in ("refs(shapes).p", "instances.json"):
        (tmp_path / "refer" / "shapes" / name).write_bytes((drawn / "refer" / "shapes" / name).read_bytes())
    options = ["-d", "shapes", "-t", "val", "--data-root", str(tmp_path), "--vocabulary", str(drawn / "words.txt")]
    assert build_batches.main([*options, "--output-root", str(tmp_path), "--objects"]) == 1
    folder = tmp_path / "refer" / "shapes"
    message = f"{folder / 'objects.json'}: no such file; remove {folder} to have the data set drawn again"
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.usefixtures("eagerly")
def test_a_model_of_masks_has_the_same_scores_on_both(drawn, small_model_file, tmp_path):
    reports = []
    for kind in ("objects", "masks"):
        path = tmp_path / f"{kind}.json"
        split = ["-d", "shapes", "-t", "val", "--batch-root", str(drawn / kind)]
        assert main(["evaluate", "--model", str(small_model_file), *split, "-bs", "8", "--report", str(path)]) == 0
        reports.append(json.loads(path.read_text()))
    for records in (report["per_sample"] for report in reports):
        for record in records:
            record.pop("fields")
    assert reports[0]["per_sample"] == reports[1]["per_sample"] and len(reports[0]["per_sample"]) > 5
    assert all(record["own_size_union"] for record in reports[0]["per_sample"])
    assert reports[0]["plain"] == reports[1]["plain"]
