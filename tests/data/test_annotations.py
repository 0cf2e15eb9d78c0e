"""ReferIt and PhraseCut, and annotations that cannot be used."""

import json
import pickle

import numpy as np
import pytest
import scipy.io
from PIL import Image

import build_batches
from cmpc_tf2.data.batches import list_batches, read_batch, split_folder
from cmpc_tf2.data.sample_fields import read_fields
from refer_layout import POLYGON, WORDS, make_refer


@pytest.fixture
def data_root(tmp_path):
    """A data root with vocabularies and one picture for each layout."""
    root = tmp_path / "data"
    for folder in ("referit/images", "referit/mask", "phrasecut/images"):
        (root / folder).mkdir(parents=True)
    for name in ("vocabulary_Gref.txt", "vocabulary_referit.txt"):
        (root / name).write_text("\n".join(WORDS) + "\n")
    pixels = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "referit/images/123.jpg")
    Image.fromarray(pixels).save(root / "phrasecut/images/7.jpg")
    return root


def build(data_root, dataset, split, status=0):
    arguments = ["-d", dataset, "-t", split, "--data-root", str(data_root), "--output-root", str(data_root.parent)]
    assert build_batches.main(arguments) == status
    return [read_batch(path) for path in list_batches(data_root.parent, dataset, split)]


def region(inside=slice(5, 10)):
    labels = np.ones((40, 60))
    labels[inside] = 0
    return {"segimg_t": labels}


def test_referit(data_root):
    (data_root / "referit_query_test.json").write_text(json.dumps({"123_1": ["red man", "man"], "123_2": ["left"]}))
    scipy.io.savemat(data_root / "referit/mask/123_1.mat", region())
    scipy.io.savemat(data_root / "referit/mask/123_2.mat", region(slice(0, 20)))
    samples = build(data_root, "referit", "test")
    assert [sample.expression for sample in samples] == ["red man", "man", "left"]
    assert [int(sample.mask.sum()) for sample in samples] == [300, 300, 1200]
    assert samples[0].mask[5:10].all()


def test_referit_masks_that_cannot_be_used(data_root, capsys):
    queries = {f"123_{number}": ["man"] for number in range(1, 7)}
    (data_root / "referit_query_trainval.json").write_text(json.dumps({**queries, "99_1": ["man"]}))
    masks = data_root / "referit" / "mask"
    scipy.io.savemat(masks / "123_1.mat", region())
    scipy.io.savemat(masks / "123_2.mat", {"other": np.ones(3)})
    (masks / "123_3.mat").write_bytes(b"MATLAB 5.0 but no more")
    scipy.io.savemat(masks / "123_4.mat", {"segimg_t": np.zeros((60, 40))})
    scipy.io.savemat(masks / "123_5.mat", {"segimg_t": np.ones((40, 60))})
    assert len(build(data_root, "referit", "trainval", status=1)) == 1
    printed = capsys.readouterr()
    assert printed.out == "1 batches written, 6 samples skipped\n"
    for words in (
        "123_2.mat: has no segimg_t",
        "123_3.mat: not a readable .mat file",
        "123_4.mat: segimg_t is (60, 40), its image is (40, 60)",
        "region 123_5 'man': its mask has no pixel inside the picture",
        "123_6.mat: no such mask",
        "99.jpg: no such image",
    ):
        assert words in printed.err


def test_real_referit_queries(shared_data, data_root):
    """The original's query file, with a mask of our own for the one real picture."""
    queries = json.loads((shared_data / "referit" / "subset_38100.json").read_text())["query"]
    everything = json.loads((shared_data / "referit" / "referit_query_trainval.json").read_text())
    assert len(everything) == 49_515
    (data_root / "referit_query_trainval.json").write_text(json.dumps(queries))
    picture = shared_data / "referit" / "images" / "38100.jpg"
    (data_root / "referit/images/38100.jpg").write_bytes(picture.read_bytes())
    (data_root / "vocabulary_referit.txt").write_bytes((shared_data / "vocab/vocabulary_referit.txt").read_bytes())
    with Image.open(picture) as image:
        labels = np.ones((image.height, image.width))
    labels[100:200, 50:150] = 0
    for name in queries:
        scipy.io.savemat(data_root / f"referit/mask/{name}.mat", {"segimg_t": labels})
    samples = build(data_root, "referit", "trainval")
    assert [sample.expression for sample in samples] == [s for sentences in queries.values() for s in sentences]
    assert all(sample.image.shape == (320, 320, 3) for sample in samples)


def test_phrasecut(data_root, capsys):
    square = [[10, 5], [30, 5], [30, 25], [10, 25]]
    other = [[40, 5], [50, 5], [50, 15], [40, 15]]
    tasks = [
        {"task_id": "7__1", "image_id": 7, "phrase": "red man", "Polygons": [[square], [other]]},
        {"task_id": "7__2", "image_id": 7, "phrase": "left", "Polygons": [[square, other]]},
        {"task_id": "7__3", "image_id": 7, "phrase": "man", "Polygons": [[[[1, 2], [3, 4]]]]},
        {"task_id": "7__4", "image_id": 7, "phrase": "man", "Polygons": [[["a"]]]},
        {"task_id": "7__5", "image_id": 7, "phrase": "man", "Polygons": [[[None, [1, 2], [3, 4]]]]},
        {"task_id": "7__6", "image_id": 7, "phrase": "man", "Polygons": [[[[None, 1], [1, 2], [3, 4]]]]},
        {"task_id": "8__1", "image_id": 8, "phrase": "man", "Polygons": [[square]]},
    ]
    (data_root / "phrasecut/refer_miniv.json").write_text(json.dumps(tasks))
    samples = build(data_root, "phrasecut", "miniv", status=1)
    assert [int(sample.mask.sum()) for sample in samples] == [500, 500]
    fields = read_fields(split_folder(data_root.parent, "phrasecut", "miniv"), 2)
    assert fields == [{"image_id": 7, "task_id": "7__1"}, {"image_id": 7, "task_id": "7__2"}]
    printed = capsys.readouterr().err
    assert "task 7__3 'man': has an empty segmentation" in printed
    assert "task 7__4 'man': has polygons of another form" in printed
    assert "task 7__5 'man': has polygons of another form: expected lists of points [x, y], found null" in printed
    assert "task 7__6 'man': has a segmentation of another form: expected x1, y1, x2, y2, ..., found null" in printed
    assert "8.jpg: no such image" in printed


@pytest.mark.parametrize(
    "dataset, split, name",
    [("referit", "test", "referit_query_test.json"), ("phrasecut", "val", "phrasecut/refer_val.json")],
)
def test_query_files_of_another_form(dataset, split, name, data_root, capsys):
    arguments = ["-d", dataset, "-t", split, "--data-root", str(data_root), "--output-root", str(data_root.parent)]
    assert build_batches.main(arguments) == 1
    assert f"{name}: no such file" in capsys.readouterr().err
    for content, words in (
        ('{"a": ["b"', "not readable JSON, perhaps cut off"),
        ("[" * 200_000, f"{name}: not readable JSON: too deeply nested"),
        ('["a"]', "not annotations in the form of"),
        ('{"a": 3}', "not annotations in the form of"),
        ('[{"task_id": 1}]', "not annotations in the form of"),
    ):
        (data_root / name).write_text(content)
        assert build_batches.main(arguments) == 1
        assert words in capsys.readouterr().err


def test_umd_split_and_names(tmp_path):
    arguments = make_refer(tmp_path, [{"ref_id": 1, "split": "test", "sentences": ["man"]}], "refcocog", "refs(umd).p")
    assert build_batches.main(["-d", "refcocog_umd", "-t", "test", *arguments]) == 0
    assert len(list_batches(tmp_path, "Gref_umd", "test")) == 1


def test_repeated_ids_are_reported_and_the_last_counts(tmp_path, capsys):
    arguments = make_refer(tmp_path, [{"ref_id": 1, "split": "val", "sentences": ["man"]}])
    refs = tmp_path / "refer" / "refcoco" / "refs(unc).p"
    (first,) = pickle.loads(refs.read_bytes())
    last = {**first, "sentences": [{"sent_id": 0, "sent": "left"}]}
    refs.write_bytes(pickle.dumps([first, last], protocol=2))
    instances = refs.with_name("instances.json")
    annotation = {"id": first["ann_id"], "segmentation": []}
    instances.write_text(json.dumps({"annotations": [annotation, {**annotation, "segmentation": POLYGON}]}))
    assert build_batches.main(["-d", "unc", "-t", "val", *arguments]) == 0
    assert [read_batch(path).expression for path in list_batches(tmp_path, "unc", "val")] == ["left"]
    error = capsys.readouterr().err
    assert f"{refs}: 1 entries repeat the ref_id of another; the last one counts" in error
    assert f"{instances}: 1 entries repeat the id of another; the last one counts" in error


def test_a_sentence_must_be_text(tmp_path, capsys):
    arguments = make_refer(tmp_path, [{"ref_id": 1, "split": "val", "sentences": [None]}])
    assert build_batches.main(["-d", "unc", "-t", "val", *arguments]) == 1
    assert "not annotations in the form of REFER: ref 1: expected text for sent, found null" in capsys.readouterr().err


def build_one_reference(root, change_ref=None, change_annotations=None) -> tuple[int, list[str]]:
    """Builds a split of one reference whose annotations were changed; returns status and arguments."""
    arguments = make_refer(root, [{"ref_id": 1, "split": "val", "sentences": ["man"]}])
    refs = root / "refer" / "refcoco" / "refs(unc).p"
    instances = refs.with_name("instances.json")
    if change_ref:
        (ref,) = pickle.loads(refs.read_bytes())
        refs.write_bytes(pickle.dumps([{**ref, **change_ref}], protocol=2))
    if change_annotations:
        (annotation,) = json.loads(instances.read_text())["annotations"]
        instances.write_text(json.dumps({"annotations": change_annotations(annotation)}))
    return build_batches.main(["-d", "unc", "-t", "val", *arguments])


def test_unused_annotations_may_be_damaged(tmp_path):
    unusable = [{"id": 7}, {"no": "id"}, {"id": [1]}, 7, None]
    assert build_one_reference(tmp_path, change_annotations=lambda annotation: [annotation, *unusable]) == 0
    assert len(list_batches(tmp_path, "unc", "val")) == 1


@pytest.mark.parametrize("segmentation", [{}, {"segmentation": None}])
def test_a_used_annotation_without_segmentation_is_reported(segmentation, tmp_path, capsys):
    assert build_one_reference(tmp_path, change_annotations=lambda _: [{"id": 101, **segmentation}]) == 1
    assert "skipped: ref 1 'man': annotation 101 has no segmentation" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, words",
    [
        ({"image_id": "abc"}, "ref 1: expected a whole number for image_id, found 'abc'"),
        ({"image_id": True}, "ref 1: expected a whole number for image_id, found true"),
        ({"image_id": 10**5000}, "ref 1: expected a whole number for image_id, found a number of more than 18 digits"),
        ({"ann_id": [1]}, "ref 1: expected a whole number for ann_id, found a list"),
        ({"ref_id": {}}, "expected a whole number for ref_id, found an object"),
        ({"sentences": "man"}, "ref 1: expected a list for sentences, found 'man'"),
        ({"sentences": ["man"]}, "ref 1: expected an object for a sentence, found 'man'"),
        ({"sentences": [{}]}, "ref 1: expected text for sent, which is missing"),
    ],
)
def test_fields_of_references_are_checked_in_words(change, words, tmp_path, capsys):
    assert build_one_reference(tmp_path, change_ref=change) == 1
    error = capsys.readouterr().err
    assert f"refs(unc).p: not annotations in the form of REFER: {words}\n" in error
    assert error.count("\n") == 1


def test_references_that_share_a_long_list(tmp_path, capsys):
    """A short pickle can give many references the same long list of sentences."""
    arguments = make_refer(tmp_path, [{"ref_id": 1, "split": "val", "sentences": ["man"]}])
    refs = tmp_path / "refer" / "refcoco" / "refs(unc).p"
    (ref,) = pickle.loads(refs.read_bytes())
    shared = {**ref, "sentences": ref["sentences"] * 1000}
    refs.write_bytes(pickle.dumps([{**shared, "ref_id": number} for number in range(1000)], protocol=2))
    assert build_batches.main(["-d", "unc", "-t", "val", *arguments]) == 1
    assert "expected sentences of its own, found more than the file has bytes" in capsys.readouterr().err


def test_names_of_regions_are_names_of_files(data_root, capsys):
    arguments = ["-d", "referit", "-t", "test", "--data-root", str(data_root), "--output-root", str(data_root.parent)]
    for region in ("a/b", "a\nb", "", "1" * 300, "\0"):
        (data_root / "referit_query_test.json").write_text(json.dumps({region: ["man"]}))
        assert build_batches.main(arguments) == 1
        assert "expected names of regions like '38100_1', found" in capsys.readouterr().err


def test_objects_of_the_same_category_are_counted(tmp_path):
    references = [{"ref_id": number, "split": "val", "sentences": ["man", "left"]} for number in range(3)]
    arguments = make_refer(tmp_path, references)
    path = tmp_path / "refer" / "refcoco" / "instances.json"
    annotations = json.loads(path.read_text())["annotations"]
    for annotation, image_id in zip(annotations, (0, 1, 2), strict=True):
        annotation |= {"image_id": image_id, "category_id": 7}
    del annotations[2]["category_id"]
    others = [(0, 7), (0, 7), (0, 8), (1, 8), (2, 7)]
    annotations += [{"id": n, "image_id": image, "category_id": one} for n, (image, one) in enumerate(others)]
    path.write_text(json.dumps({"annotations": annotations}))
    assert build_batches.main(["-d", "unc", "-t", "val", *arguments]) == 0
    fields = read_fields(split_folder(tmp_path, "unc", "val"), 6)
    assert [one.get("same_category") for one in fields] == [3, 3, 1, 1, None, None]
    assert [one["image_id"] for one in fields] == [one["ref_id"] for one in fields] == [0, 0, 1, 1, 2, 2]
