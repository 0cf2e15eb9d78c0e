"""Data of the user's own: rows in JSON Lines and CSV, COCO instances with captions."""

import json

import numpy as np
import pytest
from PIL import Image

import build_batches
from cmpc_tf2.data.batches import list_batches, read_batch, read_manifest, split_folder
from cmpc_tf2.data.sample_fields import FIELDS_FILE, read_fields
from cmpc_tf2.data.segmentations import rasterize
from own_data import SIZE, make_pictures, real_rows, row, write_rows
from refer_layout import POLYGON

MASK = rasterize(POLYGON, *SIZE)


def build(root, annotations, *more, status=0):
    options = make_pictures(root)
    assert build_batches.main([*options, "--annotations", str(annotations), *more]) == status


def contents(root, dataset="mine", split="val"):
    return [path.read_bytes() for path in list_batches(root, dataset, split)]


def samples(root):
    return [read_batch(path) for path in list_batches(root, "mine", "val")]


def compressed(mask):
    from pycocotools import mask as coco_mask

    encoding = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoding["size"]), "counts": encoding["counts"].decode()}


def uncompressed(mask):
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, flat.size]).tolist()}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    "folder, refs_file, dataset, splits, count",
    [("refcoco", "refs(unc).p", "unc", ("testA", "testB"), 47), ("refcocog", "refs(google).p", "Gref", ("val",), 3)],
)
def test_real_triples_give_the_same_files_as_through_refer(
    folder, refs_file, dataset, splits, count, suffix, shared_data, tmp_path
):
    mini = shared_data / "refer_mini"
    options = [
        "--image-root", str(mini / "images/mscoco/images/train2014"), "--output-root", str(tmp_path),
        "--vocabulary", str(shared_data / "vocab/vocabulary_Gref.txt"),
    ]  # fmt: skip
    rows, found = real_rows(mini, folder, refs_file), 0
    for split in splits:
        annotations = write_rows(tmp_path / f"{split}{suffix}", [row for row in rows if row["split"] == split])
        own = ["-d", "mine", "-t", split, "--annotations", str(annotations)]
        assert build_batches.main([*own, *options]) == 0
        assert build_batches.main(["-d", dataset, "-t", split, "--refer-root", str(mini), *options]) == 0
        assert contents(tmp_path, "mine", split) == contents(tmp_path, dataset, split)
        manifests = [read_manifest(split_folder(tmp_path, name, split)) for name in ("mine", dataset)]
        assert manifests[0]["samples_per_reference"] == manifests[1]["samples_per_reference"]
        found += manifests[0]["samples"]
    assert found == count


def test_train_splits_are_resized(tmp_path):
    build(tmp_path, write_rows(tmp_path / "my.jsonl", [row()]), "-t", "train", "--image-size", "48")
    (path,) = list_batches(tmp_path, "mine", "train")
    assert read_batch(path).image.shape == (48, 48, 3)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_every_form_of_a_mask_is_the_same(suffix, tmp_path):
    make_pictures(tmp_path)
    (tmp_path / "masks").mkdir()
    grey, palette = Image.fromarray(MASK.astype(np.uint8)), Image.fromarray(MASK.astype(np.uint8), mode="P")
    palette.putpalette([255, 255, 255, 0, 0, 0])  # The object is black.
    color = Image.fromarray(np.stack([0 * MASK, 0 * MASK, MASK, MASK + 1], axis=2).astype(np.uint8))
    pictures = {
        "grey": grey,
        "palette": palette,
        "bits": Image.fromarray(MASK),
        "color": color,
        "16": Image.fromarray(MASK.astype(np.uint16)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / "masks" / f"{name}.png")
    forms = [{"mask": f"masks/{name}.png"} for name in pictures]
    forms += [{"mask": compressed(MASK)}, {"mask": uncompressed(MASK)}, {"segmentation": compressed(MASK)}]
    forms += [{"polygons": POLYGON}, {"segmentation": POLYGON}]
    build(tmp_path, write_rows(tmp_path / f"my{suffix}", [row(**form) for form in forms]))
    found = samples(tmp_path)
    assert len(found) == len(forms) == 10
    for sample, form in zip(found, forms, strict=True):
        np.testing.assert_array_equal(sample.mask, MASK, err_msg=str(form))


def test_the_folder_of_the_annotations_is_the_default_for_pictures(tmp_path):
    make_pictures(tmp_path)
    annotations = write_rows(tmp_path / "photos" / "my.jsonl", [row()])
    options = ["--vocabulary", str(tmp_path / "words.txt"), "--output-root", str(tmp_path), "-d", "mine", "-t", "val"]
    assert build_batches.main([*options, "--annotations", str(annotations)]) == 0


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_neighbours_of_the_same_picture_and_mask_are_a_reference_and_fields_are_kept(suffix, tmp_path):
    other = [[20.0, 5.0, 30.0, 5.0, 30.0, 25.0]]
    rows = [
        row("man", area="left", box=[10, 5, 20, 20]),
        row("red man", area="right", box=[1, 2, 3, 4]),
        row("man", area="right", box=[1, 2, 3, 4]),
        row(".", image="1.png", area="none", box=[0, 0, 1, 1]),
        row("left", image="1.png", area="far", box=[0, 0, 1, 1]),
        row("man", image="1.png", polygons=other, area="near", box=[0, 0, 1, 1]),
        row("man", area="again", box=[0, 0, 1, 1]),
        row("man", area="again", box=[0, 0, 1, 1]),
    ]
    build(tmp_path, write_rows(tmp_path / f"my{suffix}", rows), "--skip-errors")
    manifest = read_manifest(split_folder(tmp_path, "mine", "val"))
    assert manifest["samples_per_reference"] == [3, 1, 1, 2]
    assert [sample.expression for sample in samples(tmp_path)] == ["man", "red man", "man", "left", "man", "man", "man"]
    found = read_fields(split_folder(tmp_path, "mine", "val"), 7)
    kept = [fields["area"] for fields in found]
    assert kept == ["left", "right", "right", "far", "near", "again", "again"]
    boxes = [fields["box"] for fields in found[:2]]
    assert boxes == ([[10, 5, 20, 20], [1, 2, 3, 4]] if suffix == ".jsonl" else ["[10, 5, 20, 20]", "[1, 2, 3, 4]"])
    (skipped,) = manifest["skipped"]
    assert (
        skipped["reference"]
        == f"{tmp_path / f'my{suffix}'}, row {4 + (suffix == '.csv')} to row {5 + (suffix == '.csv')}"
    )


def test_shards_and_processes_give_the_same_files_and_fields(tmp_path):
    rows = [row("man", area=number // 2, image=f"{number % 2}.png") for number in range(7)]
    build(tmp_path, write_rows(tmp_path / "my.jsonl", rows), "--workers", "2")
    whole = contents(tmp_path), read_manifest(split_folder(tmp_path, "mine", "val"))
    for part in ("1/2", "2/2"):
        build(tmp_path, tmp_path / "my.jsonl", "--overwrite", "--shard", part)
    build(tmp_path, tmp_path / "my.jsonl", "--overwrite", "--merge")
    assert (contents(tmp_path), read_manifest(split_folder(tmp_path, "mine", "val"))) == whole
    assert read_fields(split_folder(tmp_path, "mine", "val"), 7) == [{"area": number // 2} for number in range(7)]
    build(tmp_path, tmp_path / "my.jsonl", "--check")


def test_byte_order_mark_line_ends_and_blank_lines(tmp_path):
    rows = [row("größe", image="0.png"), row("man")]
    write_rows(tmp_path / "plain.jsonl", rows)
    build(tmp_path, tmp_path / "plain.jsonl")
    plain = contents(tmp_path)
    lines = (tmp_path / "plain.jsonl").read_text().splitlines()
    (tmp_path / "my.jsonl").write_bytes(("\ufeff" + "\r\n\r\n".join(lines)).encode())
    build(tmp_path, tmp_path / "my.jsonl", "--overwrite")
    assert contents(tmp_path) == plain
    table = write_rows(tmp_path / "plain.csv", rows).read_bytes()
    (tmp_path / "my.csv").write_bytes(
        b"\xef\xbb\xbf" + table.replace(b"image,expression", b"image, expression") + b",,\r\n"
    )
    build(tmp_path, tmp_path / "my.csv", "--overwrite")
    assert contents(tmp_path) == plain


BAD_ROWS = [
    ("not JSON", "not readable JSON, perhaps cut off"),
    ("[1]", "expected an object for the row, found a list"),
    ("[" * 100_000, "not readable JSON: too deeply nested"),
    ({"image": "0.png", "polygons": POLYGON}, "expected text for expression, which is missing"),
    (row(expression=3), "expected text for expression, found 3"),
    (row(expression="\ud800"), "expected Unicode text for expression, found '\\ud800'"),
    ({"expression": "man", "polygons": POLYGON}, "expected text for image, which is missing"),
    (row(image=""), "expected a path for image, found ''"),
    (row(image="a\0b"), "expected a path for image, found 'a\\x00b'"),
    (row(image="/etc/0.png"), "expected a path below the image root for image, found '/etc/0.png'"),
    (row(image="a/../../0.png"), "expected a path below the image root for image, found 'a/../../0.png'"),
    ({"image": "0.png", "expression": "man"}, "expected one of mask, polygons, segmentation, found none"),
    (row(mask=None), "expected one of mask, polygons, segmentation, found none"),
    (row(mask="m.png", polygons=POLYGON), "expected one of mask, polygons, segmentation, found mask and polygons"),
    (row(mask=POLYGON), "expected the path of a PNG file or run lengths for mask, found a list"),
    (row(mask=""), "expected a path for mask, found ''"),
]  # fmt: skip


@pytest.mark.parametrize("content, words", BAD_ROWS)
def test_a_bad_row_is_skipped_and_named(content, words, tmp_path, capsys):
    lines = [json.dumps(row()), content if isinstance(content, str) else json.dumps(content), json.dumps(row("left"))]
    path = tmp_path / "my.jsonl"
    path.write_text("\n".join(lines))
    build(tmp_path, path, status=1)
    printed = capsys.readouterr()
    assert printed.out == "2 batches written, 1 samples skipped\n"
    (line,) = [line for line in printed.err.splitlines() if line.startswith("skipped")]
    assert line.startswith(f"skipped: {path}, row 2 ") and words in line
    assert line.endswith("; correct the row or remove it")
    assert [sample.expression for sample in samples(tmp_path)] == ["man", "left"]
    path.write_text(lines[1])
    build(tmp_path, path, "--overwrite", status=1)
    assert f"error: {path}: none of its 1 rows can be used; row 1: {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"image": "2.png"}, "2.png: no such image"),
        ({"image": "photo.png"}, "photo.png: not a readable image"),
        ({"mask": "none.png"}, "none.png: no such mask"),
        ({"mask": "photos/photo.png"}, "photo.png: expected a mask in a PNG file, found something else"),
        ({"mask": "cut.png"}, "cut.png: not a readable image: damaged or cut off"),
        ({"mask": "small.png"}, "small.png: has 4 x 5 pixels, its image is 40 x 60"),
        ({"mask": "empty.png"}, "its mask has no pixel inside the picture"),
        ({"mask": "moving.png"}, "moving.png: is animated"),
        ({"mask": {"size": [4, 5], "counts": [1, 2]}}, "has a mask of 4 x 5 pixels, its image is 40 x 60"),
        ({"mask": {"counts": [1, 2]}}, "has a segmentation of another form: expected `size` and `counts`"),
        ({"mask": {"size": [40, 60], "counts": [2400]}}, "its mask has no pixel inside the picture"),
        ({"polygons": []}, "has an empty segmentation"),
        ({"polygons": [1, 2, 3]}, "has a segmentation of another form: expected a list of polygons, found 1"),
        ({"polygons": "x"}, "has a segmentation of another form: expected polygons or run lengths, found 'x'"),
        ({"segmentation": [[-9, -9, -5, -9, -5, -5]]}, "its mask has no pixel inside the picture"),
    ],
)
def test_unusable_pictures_and_masks_are_skipped(changes, words, tmp_path, capsys):
    make_pictures(tmp_path)
    (tmp_path / "photos" / "photo.png").write_bytes(b"not a picture")
    frames = [Image.new("L", (60, 40), level) for level in (0, 255)]
    frames[0].save(tmp_path / "empty.png")
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    Image.new("L", (5, 4), 1).save(tmp_path / "small.png")
    noise = np.random.default_rng(0).integers(0, 256, size=SIZE, dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:500])
    path = write_rows(tmp_path / "my.jsonl", [row("left"), row("man", **changes)])
    build(tmp_path, path, status=1)
    printed = capsys.readouterr()
    assert printed.out == "1 batches written, 1 samples skipped\n"
    assert f"skipped: {path}, row 2 'man': " in printed.err and words in printed.err


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("my.jsonl", None, "no such file"),
        ("my.jsonl", b"", "holds no expressions; docs/own_data.md describes what is expected"),
        ("my.jsonl", b"\n \n", "holds no expressions"),
        ("my.jsonl", b"\xff\xfe{", "expected UTF-8 text, found another encoding at byte 0"),
        ("my.csv", b"", "holds no expressions"),
        ("my.csv", b"image,expression,mask\n", "holds no expressions"),
        ("my.csv", b"image;expression;mask\n", "separated by commas; found 'image;expression;mask'"),
        ("my.csv", b"image,sentence,mask\n", "expected a header with the columns image, expression and one of mask, "),
        ("my.csv", b"image,expression\n", "expected a header with the columns image, expression and one of mask, "),
        ("my.csv", b"image,image,expression,mask\n", "expected columns of different names, found 'image' twice"),
        ("my.csv", b'image,expression,mask\na,b,c\n"a,b,c\n', "row 3: not readable CSV: "),
        ("my.csv", b'image,expression,mask\n"a"b,b,c\n', "row 2: not readable CSV: "),
        ("my.csv", b"image,expression,mask\na,b\n", "row 2: expected 3 cells as in the header, found 2"),
        ("my.csv", b"image,expression,mask\na,b,c,d\n", "row 2: expected 3 cells as in the header, found 4"),
        ("my.csv", b"image,expression,polygons\na,b,c\n", "row 2: polygons: not readable JSON"),
        ("my.csv", b"image,expression,mask\na,b,{c\n", "row 2: mask: not readable JSON"),
        ("my.csv", b"image,expression,mask\na,b,\n", "row 2: expected one of mask, polygons, segmentation, found none"),
        (
            "my.json",
            b"[]",
            "not COCO instances: expected an object for the file, found a list; rows belong in a .jsonl",
        ),
        ("my.json", b"{}", "not COCO instances: expected a list for images, which is missing"),
        ("my.json", b'{"images": [], "annotations": [1]}', "not COCO instances: expected an object for an annotation"),
        ("my.json", b'{"images": [], "annotations": []}', "holds no expressions"),
        ("my.json", b"{", "not readable JSON, perhaps cut off"),
        ("my.txt", b"", "expected annotations in a file whose name ends in .jsonl, .csv, .json"),
    ],
)
def test_files_of_another_form_get_one_line(name, content, words, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    build(tmp_path, tmp_path / name, status=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / name}") and words in line
    assert not (tmp_path / "mine").exists()


def coco(images, annotations):
    return {"images": images, "annotations": annotations, "categories": []}


def test_coco_annotations_with_captions(tmp_path, capsys):
    """Captions of annotations, as in dense captioning, and of images with one annotation, as MDETR writes RefCOCO."""
    images = [{"id": 1, "file_name": "0.png"}, {"id": 2, "file_name": "1.png"}]
    images += [{"id": "a", "file_name": "1.png", "caption": "the red man"}]
    images += [{"id": 4, "file_name": "1.png", "caption": "left"}]
    images += [{"id": 5, "file_name": "1.png", "caption": "two men"}]
    annotations = [
        {"id": 10, "image_id": 1, "segmentation": POLYGON, "caption": "man", "category_id": 7},
        {"id": 11, "image_id": 2, "segmentation": compressed(MASK), "caption": ["man", "left"], "iscrowd": 1},
        {"id": 12, "image_id": 2, "segmentation": POLYGON},
        {"id": 13, "image_id": "a", "segmentation": POLYGON},
        {"id": 14, "image_id": 4, "segmentation": POLYGON},
        {"id": 15, "image_id": 5, "segmentation": POLYGON},
        {"id": 16, "image_id": 5, "segmentation": POLYGON},
        {"id": 17, "image_id": 3, "segmentation": POLYGON, "caption": "man"},
        {"id": 18, "image_id": [], "segmentation": POLYGON, "caption": "man"},
        {"image_id": 2, "caption": "man"},
    ]
    path = tmp_path / "my.json"
    path.write_text(json.dumps(coco(images, annotations)))
    build(tmp_path, path, status=1)
    printed = capsys.readouterr()
    for line in (
        "annotation 15 '': expected a caption of its own, found that of an image with 2 annotations; correct",
        "annotation 16 '': expected a caption of its own, found that of an image with 2 annotations; correct",
        "annotation 17 '': expected the id of an image for image_id, found 3; correct",
        "annotation 18 '': expected the id of an image for image_id, found a list; correct",
        "annotation number 9 'man': expected one of mask, polygons, segmentation, found none; correct",
    ):
        assert f"skipped: {path}, {line}" in printed.err
    assert printed.out == "5 batches written, 5 samples skipped\n"
    assert [sample.expression for sample in samples(tmp_path)] == ["man", "man", "left", "the red man", "left"]
    assert all((sample.mask == MASK).all() for sample in samples(tmp_path))
    manifest = read_manifest(split_folder(tmp_path, "mine", "val"))
    assert manifest["samples_per_reference"] == [1, 2, 2, 0, 0, 0, 0, 0]
    assert read_fields(split_folder(tmp_path, "mine", "val"), 5)[0] == {"id": 10, "image_id": 1, "category_id": 7}


@pytest.mark.parametrize(
    "change, words",
    [
        (["-d", "unc"], "-d: unc is the name of a known data set; give your own data (--annotations) another one"),
        (["-d", "RefCOCO"], "-d: RefCOCO is the name of a known data set"),
        (
            ["-d", "../mine"],
            "-d: expected a letter or digit, then at most 99 letters, digits or characters of '_-+.', ",
        ),
        (["-d", ""], "received ''"),
        (["-d", ".mine"], "received '.mine'"),
        (["-t", "a/b"], "-t: expected a letter or digit"),
    ],
)
def test_names_of_own_data_are_checked(change, words, tmp_path, capsys):
    build(tmp_path, write_rows(tmp_path / "my.jsonl", [row()]), *change, status=2)
    assert words in capsys.readouterr().err


def test_own_data_needs_annotations_and_a_vocabulary(tmp_path, capsys):
    options = make_pictures(tmp_path)
    assert build_batches.main(options) == 2
    error = capsys.readouterr().err
    assert "unknown dataset 'mine'; known: unc (refcoco)" in error
    assert error.endswith("; for your own data, give --annotations FILE (docs/own_data.md)\n")
    path = write_rows(tmp_path / "my.jsonl", [row()])
    options = ["-d", "mine", "-t", "val", "--annotations", str(path), "--data-root", str(tmp_path)]
    assert build_batches.main(options) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / 'vocabulary_mine.txt'}: no such vocabulary" in error
    assert "`python tools/build_embeddings.py --annotations FILE --vocabulary FILE` makes one" in error


def test_a_damaged_list_of_fields_is_reported(tmp_path, capsys):
    build(tmp_path, write_rows(tmp_path / "my.jsonl", [row(area="left")]))
    (split_folder(tmp_path, "mine", "val") / FIELDS_FILE).write_text("{}\n{}\n")
    build(tmp_path, tmp_path / "my.jsonl", "--check", status=1)
    assert (
        "fields.jsonl: expected 1 lines, one for each sample, found 2; build the split again" in capsys.readouterr().err
    )
