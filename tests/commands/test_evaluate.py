import importlib.util
import json
import re

import numpy as np
import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.data.annotations import rasterize, read_plain_pickle
from cmpc_tf2.data.batches import Sample, batch_path, write_batch
from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.data.sample_fields import write_fields
from cmpc_tf2.errors import UsageError
from cmpc_tf2.model_files import load_for_inference, save_model
from cmpc_tf2.text.vocabulary import Vocabulary
from original import GOLDEN
from refer_layout import POLYGON
from small import SMALL, WORDS

EXPRESSIONS = ["the red circle", "left of the blue square", "man", "red man", "the man", "blue", "left circle"]

SIZES = (["--image-size", "32"], ["--image-size", "48"])


@pytest.fixture
def split(tmp_path):
    """Seven samples on three pictures; returns the command's arguments."""
    rng = np.random.default_rng(4)
    vocabulary = Vocabulary(WORDS)
    images = [rng.integers(0, 256, size=(*size, 3), dtype=np.uint8) for size in ((40, 60), (50, 30), (32, 32))]
    path = batch_path(tmp_path, "unc", "val", 0)
    path.parent.mkdir(parents=True)
    for index, expression in enumerate(EXPRESSIONS):
        image = images[index // 3]
        mask = rasterize(POLYGON, *image.shape[:2])
        token_ids = vocabulary.encode(expression)
        write_batch(batch_path(tmp_path, "unc", "val", index), Sample(token_ids, image, mask, expression))
    return ["-d", "unc", "-t", "val", "--batch-root", str(tmp_path)]


def evaluate(model_file, split, tmp_path, *more):
    report = tmp_path / "report.json"
    assert main(["evaluate", "--model", str(model_file), *split, "--report", str(report), *more]) == 0
    return json.loads(report.read_text())


@pytest.mark.slow
def test_original_run_at_full_size(full_model_file, shared_data, tmp_path, parity):
    """The original's `test()` with DenseCRF on 50 samples: each score within 0.002."""
    mini, golden = shared_data / "refer_mini", json.loads((GOLDEN / "eval_unc_val.json").read_text())
    vocabulary = Vocabulary.from_file(shared_data / "vocab" / "vocabulary_Gref.txt")
    annotations = json.loads((mini / "refcoco" / "instances.json").read_text())["annotations"]
    segmentations = {annotation["id"]: annotation["segmentation"] for annotation in annotations}
    samples = []
    for ref in sorted(read_plain_pickle(mini / "refcoco" / "refs(unc).p"), key=lambda ref: ref["ref_id"]):
        name = f"images/mscoco/images/train2014/COCO_train2014_{ref['image_id']:012d}.jpg"
        image = read_image(mini / name)
        mask = rasterize(segmentations[ref["ann_id"]], *image.shape[:2])
        samples += [Sample(vocabulary.encode(s["sent"]), image, mask, s["sent"]) for s in ref["sentences"]]
    batch_path(tmp_path, "unc", "val", 0).parent.mkdir(parents=True)
    for index, sample in enumerate(samples + samples[:3]):
        write_batch(batch_path(tmp_path, "unc", "val", index), sample)

    dcrf = ["-c"] if importlib.util.find_spec("pydensecrf") else []
    report = evaluate(full_model_file, ["-d", "unc", "-t", "val", "--batch-root", str(tmp_path)], tmp_path, *dcrf)
    assert report["samples"] == 50
    for name, prefix in (("plain", ""), ("dcrf", "dcrf_"))[: 2 if dcrf else 1]:
        expected = np.array(golden[name], float)[:, :2]
        overall, mean = expected[:, 0].sum() / expected[:, 1].sum(), (expected[:, 0] / expected[:, 1]).mean()
        assert f"overall IoU = {overall:.6f}; mean IoU = {mean:.6f}" in golden["report"]
        title = "50 samples evaluated at full size, with DenseCRF" if prefix else "50 samples evaluated at full size"
        parity.within(f"{title}: overall IoU ({overall:.6f}) *", report[name]["overall_iou"], overall, 0.002)
        parity.within(f"{title}: mean IoU ({mean:.6f}) *", report[name]["mean_iou"], mean, 0.002)
        found = np.array([[r[f"{prefix}intersection"], r[f"{prefix}union"]] for r in report["per_sample"]])
        ious = found[:, 0] / found[:, 1]
        # DenseCRF amplifies rounding: a pixel on the edge can take a patch with it.
        np.testing.assert_allclose(ious, expected[:, 0] / expected[:, 1], atol=0.005 if prefix else 0.0005)


@pytest.mark.usefixtures("eagerly")
def test_batch_size_changes_no_number(small_model_file, split, tmp_path):
    reports = [evaluate(small_model_file, split, tmp_path, "-bs", size) for size in ("1", "2", "100")]
    scores = [[record.pop("score") for record in report["per_sample"]] for report in reports]
    np.testing.assert_allclose(scores, [scores[0]] * 3, rtol=1e-5)  # Sums of floats; all counts are equal.
    assert all(report == reports[0] for report in reports)
    assert reports[0]["samples"] == 7
    assert [record["index"] for record in reports[0]["per_sample"]] == list(range(7))


@pytest.mark.usefixtures("eagerly")
def test_the_report_on_standard_output(small_model_file, split, tmp_path, capsys):
    report = evaluate(small_model_file, split, tmp_path, "--json", "--quiet")
    assert (shown := capsys.readouterr()).err == ""
    assert json.loads(shown.out) == report


@pytest.mark.usefixtures("eagerly")
def test_processes_change_no_number(small_model_file, split, tmp_path):
    pytest.importorskip("pydensecrf")
    reports = [evaluate(small_model_file, split, tmp_path, "-c", "--workers", workers) for workers in ("0", "2")]
    assert reports[0] == reports[1]
    assert [record["index"] for record in reports[0]["per_sample"]] == list(range(7))


@pytest.mark.usefixtures("eagerly")
def test_bfloat16_gives_nearly_the_same_scores(small_model_file, split, tmp_path):
    exact, fast = (evaluate(small_model_file, split, tmp_path, "--precision", p) for p in ("float32", "bfloat16"))
    assert exact["per_sample"] != fast["per_sample"]
    assert fast["plain"]["mean_iou"] == pytest.approx(exact["plain"]["mean_iou"], abs=0.03)
    encoder = load_for_inference(small_model_file, "bfloat16").inference_encoder()
    assert encoder.get_layer("backbone").get_layer("conv1").compute_dtype == "bfloat16"


@pytest.mark.usefixtures("eagerly")
def test_another_size_of_picture(small_model, small_model_file, split, tmp_path):
    usual, same, larger = (evaluate(small_model_file, split, tmp_path, *o) for o in ([], *SIZES))
    assert usual == same
    assert [r["union"] for r in larger["per_sample"]] != [r["union"] for r in usual["per_sample"]]
    assert larger["samples"] == usual["samples"]
    with pytest.raises(UsageError, match="--image-size: expected a multiple of 8 from 8 to 4096, received 50"):
        load_for_inference(small_model_file, image_size=50)
    resized = small_model.at_size(48)
    assert resized.vocabulary == small_model.vocabulary
    cells = {v.path: v.shape for v in resized.variables if "peephole" in v.path}
    assert set(cells.values()) == {(6, 6, 14)}


@pytest.mark.usefixtures("eagerly")
def test_scores_follow_from_the_records(small_model_file, split, tmp_path, capsys):
    report = evaluate(small_model_file, split, tmp_path)
    pairs = np.array([[r["intersection"], r["union"]] for r in report["per_sample"]], float)
    assert report["plain"]["overall_iou"] == pytest.approx(pairs[:, 0].sum() / pairs[:, 1].sum())
    assert report["plain"]["mean_iou"] == pytest.approx((pairs[:, 0] / pairs[:, 1]).mean())
    assert report["dcrf"] is None
    assert report["dataset"] == "unc" and report["split"] == "val" and report["skipped"] == []
    assert "rim included" in report["protocol"]
    assert f"overall IoU = {report['plain']['overall_iou']:f}" in capsys.readouterr().out


@pytest.mark.usefixtures("eagerly")
def test_an_expression_without_words_is_reported(small_model_file, split, tmp_path):
    path = batch_path(tmp_path, "unc", "val", 1)
    image = np.zeros((40, 60, 3), np.uint8)
    write_batch(path, Sample(np.zeros(20, np.int64), image, image[..., 0] > 0, ""))
    report = evaluate(small_model_file, split, tmp_path)
    assert report["samples"] == 6
    assert report["skipped"] == [{"index": 1, "reason": "the expression has no words"}]
    assert 1 not in [record["index"] for record in report["per_sample"]]


@pytest.mark.usefixtures("eagerly")
def test_overlays(small_model_file, split, tmp_path):
    evaluate(small_model_file, split, tmp_path, "--overlays", str(tmp_path / "drawn"))
    drawn = tmp_path / "drawn"
    assert sorted(p.name for p in drawn.iterdir()) == [*(f"{n}.png" for n in range(7)), "index.html"]
    height, width, _ = read_image(drawn / "3.png").shape
    assert height > 50 and width == 30  # The caption is below.


@pytest.mark.usefixtures("eagerly")
def test_the_gallery_shows_the_worst_first(small_model_file, split, tmp_path):
    report = evaluate(small_model_file, split, tmp_path, "--overlays", str(tmp_path / "drawn"), "-c")
    page = (tmp_path / "drawn" / "index.html").read_text()
    shown = [(float(iou), int(index)) for iou, index in re.findall(r'data-iou="([\d.]+)" data-index="(\d+)"', page)]
    assert sorted(iou for iou, _ in shown) == [iou for iou, _ in shown] and len(shown) == 7
    for iou, index in shown:
        record = report["per_sample"][index]
        assert iou == pytest.approx(record["dcrf_intersection"] / record["dcrf_union"], abs=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_intervals_groups_and_page(small_model_file, split, tmp_path, capsys):
    fields = [{"place": "indoors" if number < 4 else "outdoors"} for number in range(7)]
    write_fields(batch_path(tmp_path, "unc", "val", 0).parent, fields)
    page, drawn = tmp_path / "page.html", tmp_path / "drawn"
    report = evaluate(small_model_file, split, tmp_path, "--html", str(page), "--overlays", str(drawn))
    assert report["bootstrap"]["pictures"] == 3
    for variant in ("plain", "own_size"):
        low, high = report[variant]["intervals"]["mean_iou"]
        assert low <= report[variant]["mean_iou"] <= high
        assert report[variant]["intervals"]["precision"].keys() == report[variant]["precision"].keys()
    records = report["per_sample"]
    assert [record["expression"] for record in records] == EXPRESSIONS
    assert [record["picture"] for record in records] == [records[n // 3 * 3]["picture"] for n in range(7)]
    assert [record["size"] for record in records] == [[40, 60]] * 3 + [[50, 30]] * 3 + [[32, 32]]
    assert [record["area"] for record in records[:3]] == [400] * 3
    places = report["groups"]["field place"]["groups"]
    assert {name: group["samples"] for name, group in places.items()} == {"indoors": 4, "outdoors": 3}
    low, high = report["plain"]["intervals"]["overall_iou"]
    text, log = capsys.readouterr()
    assert f"overall IoU = {report['plain']['overall_iou']:f} [{low:.4f}, {high:.4f}]" in text
    assert log.splitlines()[-2:] == [f"written: {drawn / 'index.html'}", f"written: {page}"]
    files = set(re.findall(r'src="([^"]+)"', page.read_text()))
    assert files == {f"drawn/{number}.png" for number in range(7)}


@pytest.mark.usefixtures("eagerly")
def test_two_models_are_compared(small_model_file, small_maskris, split, tmp_path, capsys):
    """Models of different protocols, by the masks of the picture's own size; the same as from their reports."""
    other = tmp_path / "maskris.keras"
    save_model(small_maskris, other)
    outputs = ["--report", str(tmp_path / "compared.json"), "--html", str(tmp_path / "compared.html")]
    assert main(["compare", str(small_model_file), str(other), *split, *outputs]) == 0
    text, log = capsys.readouterr()
    found = json.loads((tmp_path / "compared.json").read_text())
    assert [model["protocol"] for model in found["models"]] == [
        "original, rim included",
        "original, at the model's size",
    ]
    lines = log.splitlines()
    assert lines.index(f"A: {small_model_file}") < lines.index(f"B: {other}")
    assert lines[-1] == f"written: {tmp_path / 'compared_files'}"
    names = {path.name for path in (tmp_path / "compared_files").iterdir()}
    assert {f"{number}_{layer}.png" for number in range(7) for layer in ("A", "B", "truth")} < names
    assert len(names) == 3 * 7 + 3
    files = []
    for number, model in enumerate((small_model_file, other)):
        report = evaluate(model, split, tmp_path)
        assert report["own_size"]["mean_iou"] == pytest.approx(found["models"][number]["mean_iou"])
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(report))
    capsys.readouterr()
    assert main(["compare", *map(str, files)]) == 0
    assert capsys.readouterr().out == text


def test_models_to_compare_are_checked_first(small_model_file, split, tmp_path, capsys):
    assert main(["compare", str(small_model_file), str(tmp_path / "none.keras"), *split]) == 1
    assert "none.keras: no such model file" in capsys.readouterr().err
    outputs = ["--report", str(tmp_path / "x.html"), "--html", str(tmp_path / "x.html")]
    assert main(["compare", str(small_model_file), str(small_model_file), *split, *outputs]) == 1
    assert "stands for two files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, words",
    [
        (["-t", "testA"], "no batches of unc testA; make them with"),
        (["--report", "nowhere/r.json"], "the folder nowhere does not exist"),
        (["--html", "nowhere/r.html"], "the folder nowhere does not exist"),
        (["--overlays", f"{__file__}/o", "--model", "none.keras"], "test_evaluate.py in its path; give another name"),
        (["--model", "none.keras"], "none.keras: no such model file"),
    ],
)
def test_wrong_arguments_get_one_line(change, words, small_model_file, split, capsys):
    assert main(["evaluate", "--model", str(small_model_file), *split, *change]) == 1
    error = capsys.readouterr().err
    assert "error: " in error and words in error


@pytest.mark.parametrize(
    "change, words",
    [
        (["-d", "flickr"], "unknown dataset 'flickr'; known: unc (refcoco)"),
        (["-t", "test"], "unc has no split 'test'; it has train, val, testA, testB"),
    ],
)
def test_impossible_options_exit_with_2(change, words, small_model_file, split, capsys):
    assert main(["evaluate", "--model", str(small_model_file), *split, *change]) == 2
    assert words in capsys.readouterr().err


def test_unwritable_outputs_are_reported_at_once(small_model_file, split, tmp_path, capsys):
    assert main(["evaluate", "--model", "none.keras", *split, "--report", str(tmp_path)]) == 1
    assert f"{tmp_path}: is not a file but a folder or device" in capsys.readouterr().err
    assert main(["evaluate", "--model", "none.keras", *split, "--overlays", __file__]) == 1
    assert f"{__file__}: expected a folder" in capsys.readouterr().err


def test_bad_batches_are_reported_before_and_during_the_run(small_model_file, split, tmp_path, capsys):
    path = batch_path(tmp_path, "unc", "val", 6)
    whole = path.read_bytes()
    arguments = ["evaluate", "--model", str(small_model_file), *split, "--report", str(tmp_path / "r.json")]
    path.write_bytes(whole[:100])
    assert main([*arguments[:2], "none.keras", *arguments[3:]]) == 1  # Found before the model is even looked for.
    assert f"{path}: not a readable .npz file" in capsys.readouterr().err
    image = np.zeros((4, 4, 3), np.uint8)
    write_batch(path, Sample(np.full(20, SMALL.vocabulary_size), image, image[..., 0] > 0, "x"))
    assert main(arguments) == 1
    assert f"{path}: its token ids for 'x' are not those of the model's vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()
