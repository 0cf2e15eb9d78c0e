"""Builds that were interrupted, run in parallel or filled the disk give the same bytes."""

import dataclasses
import errno
import functools
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

import build_batches
from cmpc_tf2.data import builder, image_builder
from cmpc_tf2.data.batches import list_batches, read_batch, split_folder
from conftest import ROOT
from killing import exit_at, run_killed
from refer_layout import make_refer
from split_of_forty import REFERENCES, contents, interrupt


def test_manifest(whole):
    manifest = json.loads(whole["manifest.json"])
    assert manifest["samples"] == len(whole) - 2 == 65  # Without manifest and fields.
    assert manifest["references"] == 40
    with_words = [sum(sentence != "" for sentence in reference["sentences"]) for reference in REFERENCES]
    with_words[16] = 0  # Its picture is missing.
    assert manifest["samples_per_reference"] == with_words
    assert [entry["reason"] for entry in manifest["skipped"]].count("has no words") == 12
    assert sum("no such image" in entry["reason"] for entry in manifest["skipped"]) == 3
    assert manifest["settings"] == {"train_size": 320, "resizing": "fit", "max_words": 20, "compress": False}
    assert [Path(source["file"]).name for source in manifest["sources"]] == [
        "refs(unc).p",
        "instances.json",
        "words.txt",
    ]
    assert all(source["bytes"] > 0 for source in manifest["sources"])


def test_fields_of_the_samples(whole):
    fields = [json.loads(line) for line in whole["fields.jsonl"].splitlines()]
    counts = json.loads(whole["manifest.json"])["samples_per_reference"]
    numbers = [number for number, count in enumerate(counts, start=1) for _ in range(count)]
    assert fields == [{"image_id": number, "ref_id": number} for number in numbers]


def test_workers_change_no_byte(arguments, whole, tmp_path):
    assert build_batches.main([*arguments, str(tmp_path), "--workers", "2"]) == 0
    assert contents(tmp_path) == whole


def test_two_builds_at_once(arguments, whole, tmp_path, monkeypatch, capsys):
    """The second is refused, and the first is not disturbed."""
    write, statuses = builder.write_batch, []

    def start_another(path, sample, compress):
        monkeypatch.setattr(builder, "write_batch", write)
        statuses.append(build_batches.main([*arguments, str(tmp_path)]))
        write(path, sample, compress)

    monkeypatch.setattr(builder, "write_batch", start_another)
    assert build_batches.main([*arguments, str(tmp_path)]) == 0
    assert statuses == [1]
    assert "train_batch: another process is building it; wait until that has ended" in capsys.readouterr().err
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("damage", ["a byte", "a count", "two writers", "a missing file", "nesting", "the first line"])
def test_a_build_recovers_from_a_damaged_journal(damage, arguments, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(builder, "publish", interrupt)
    assert build_batches.main([*arguments, str(tmp_path)]) == 130
    monkeypatch.undo()
    folder = tmp_path / "unc" / ".train_batch.part-1-of-1"
    journal = folder / "progress.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    if damage == "a byte":
        lines[20] = lines[20][:15] + b"\xff" + lines[20][16:]
    elif damage == "a count":
        lines[20] = lines[20].replace(b'"written": 2', b'"written": 1').replace(b'"written": 0', b'"written": 1')
    elif damage == "two writers":
        lines[20:20] = lines[18:20]
    elif damage == "a missing file":
        (folder / "unc_train_30.npz").unlink()
    elif damage == "nesting":
        lines[20] = b"[" * 200_000 + b"\n"
    else:
        lines[0] = lines[0][10:]
    journal.write_bytes(b"".join(lines))
    capsys.readouterr()
    assert build_batches.main([*arguments, str(tmp_path)]) == 0
    assert contents(tmp_path) == whole
    line = 0 if damage == "the first line" else 20
    assert f"{journal}: damaged, or files are missing; going on after line {line}\n" in capsys.readouterr().err


def test_a_build_resumes_after_a_worker_was_killed(arguments, whole, tmp_path, monkeypatch, capsys):
    plan = image_builder.ImageBuild.plan

    def plan_to_die(settings):
        planned = plan(settings)
        make_samples = functools.partial(exit_at, "ref 30", planned.make_samples)
        return dataclasses.replace(planned, make_samples=make_samples)

    monkeypatch.setattr(image_builder.ImageBuild, "plan", plan_to_die)
    assert build_batches.main([*arguments, str(tmp_path), "--workers", "2"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: a worker process was killed, probably because memory ran out; "
        "run the same command with fewer --workers; it resumes from there"
    )
    monkeypatch.undo()
    assert build_batches.main([*arguments, str(tmp_path)]) == 0
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_build_is_resumed(workers, arguments, whole, tmp_path):
    """Killed by SIGKILL at some file operations, each time with more files written, then completed."""
    command = ["build_batches.py", *arguments, str(tmp_path), "--workers", workers]
    for at in (5, 40, 61):
        run_killed(tmp_path, at, command, cwd=ROOT)
        assert not split_folder(tmp_path, "unc", "train").exists()
    assert build_batches.main(command[1:]) == 0
    assert contents(tmp_path) == whole


def test_a_build_interrupted_in_any_reference_is_resumed(arguments, whole, tmp_path, monkeypatch):
    """Stopped in the middle of each reference in turn: between its files and its line in the journal."""
    add = builder.BuildJournal.add
    for stop in range(0, 40, 3):

        def stop_at(journal, step, stop=stop):
            if journal.done == stop:
                raise KeyboardInterrupt
            add(journal, step)

        monkeypatch.setattr(builder.BuildJournal, "add", stop_at)
        assert build_batches.main([*arguments, str(tmp_path)]) == 130
        assert not split_folder(tmp_path, "unc", "train").exists()
    monkeypatch.undo()
    (journal,) = tmp_path.glob("unc/.*/progress.jsonl")
    with journal.open("a") as file:
        file.write('{"written": 1, "ski')  # Cut off in the middle of a line.
    assert build_batches.main([*arguments, str(tmp_path)]) == 0
    assert contents(tmp_path) == whole


def test_an_unfinished_build_of_other_sources_is_not_resumed(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(builder, "publish", interrupt)
    assert build_batches.main([*arguments, str(tmp_path)]) == 130
    monkeypatch.undo()
    assert build_batches.main([*arguments, str(tmp_path), "--compress"]) == 1
    assert "an unfinished build from other sources or settings is there; --overwrite" in capsys.readouterr().err
    assert build_batches.main([*arguments, str(tmp_path), "--compress", "--overwrite"]) == 0


def test_the_old_split_stays_until_the_new_one_is_complete(arguments, whole, tmp_path, monkeypatch):
    assert build_batches.main([*arguments, str(tmp_path)]) == 0
    monkeypatch.setattr(builder, "publish", interrupt)
    assert build_batches.main([*arguments, str(tmp_path), "--overwrite"]) == 130
    monkeypatch.undo()
    assert len(list_batches(tmp_path, "unc", "train")) == 65
    assert build_batches.main([*arguments, str(tmp_path), "--overwrite"]) == 0
    assert contents(tmp_path) == whole


def test_a_build_interrupted_while_publishing_is_resumed(arguments, whole, tmp_path, monkeypatch):
    """Nothing is rebuilt: complete files are kept."""
    replace = os.replace

    def stop(source, target):
        if Path(target) == split_folder(tmp_path, "unc", "train"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    assert build_batches.main([*arguments, str(tmp_path)]) == 130
    monkeypatch.undo()
    monkeypatch.setattr(builder, "write_batch", None)
    assert build_batches.main([*arguments, str(tmp_path)]) == 0
    assert contents(tmp_path) == whole


def test_a_full_disk_is_reported_and_the_build_resumed(arguments, whole, tmp_path, monkeypatch, capsys):
    """The error gives the number of missing bytes; the files so far are valid, and the build is resumed."""
    write, count = builder.write_batch, []

    def fill_up(path, sample, compress):
        count.append(path)
        if len(count) > 30:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, sample, compress)

    monkeypatch.setattr(builder, "write_batch", fill_up)
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    assert build_batches.main([*arguments, str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "the disk is full: about " in error and " bytes are missing for the " in error
    missing, left = (int(number) for number in re.search(r"about (\d+) bytes .* the (\d+) samples", error).groups())
    assert 35 < left < 50
    assert missing == pytest.approx(left * 410_600 - 1000, rel=0.01)
    monkeypatch.undo()
    (folder,) = tmp_path.glob("unc/.*")
    valid = [read_batch(path) for path in folder.glob("*.npz")]
    assert len(valid) >= 29
    assert build_batches.main([*arguments, str(tmp_path)]) == 0
    assert contents(tmp_path) == whole


def test_compressed_files_hold_the_same(arguments, whole, tmp_path):
    assert build_batches.main([*arguments, str(tmp_path / "packed"), "--compress"]) == 0
    packed = list_batches(tmp_path / "packed", "unc", "train")
    assert build_batches.main([*arguments, str(tmp_path / "plain")]) == 0
    for one, other in zip(packed, list_batches(tmp_path / "plain", "unc", "train"), strict=True):
        with np.load(one, allow_pickle=False) as a, np.load(other, allow_pickle=False) as b:
            assert a.files == b.files
            for key in a.files:
                assert a[key].dtype == b[key].dtype
                np.testing.assert_array_equal(a[key], b[key])


def test_check(arguments, tmp_path, capsys):
    check = [*arguments, str(tmp_path), "--check"]
    assert build_batches.main(check) == 1
    assert "manifest.json: no such file" in capsys.readouterr().err
    assert build_batches.main(check[:-1]) == 0
    assert build_batches.main(check) == 0
    assert "65 batches, all as the manifest says" in capsys.readouterr().out
    paths = list_batches(tmp_path, "unc", "train")
    last = paths[-1].read_bytes()
    damaged = bytearray(last)
    damaged[len(damaged) // 2] ^= 1
    paths[-1].write_bytes(damaged)
    assert build_batches.main(check) == 1
    assert f"{paths[-1]}: not a readable .npz file" in capsys.readouterr().err
    paths[-1].unlink()
    assert build_batches.main(check) == 1
    assert "64 batches, its manifest.json says 65" in capsys.readouterr().err
    paths[-1].write_bytes(last)
    assert build_batches.main(check) == 0
    vocabulary = Path(arguments[arguments.index("--vocabulary") + 1])
    kept = vocabulary.read_text()
    vocabulary.write_text(kept + "more\n")
    assert build_batches.main(check) == 1
    assert f"{vocabulary}: 41 bytes, it had 36 when the split was built" in capsys.readouterr().err
    vocabulary.write_text(kept)


def test_a_picture_is_read_once_for_neighbouring_references(tmp_path, monkeypatch):
    arguments = make_refer(tmp_path, REFERENCES[:6])
    refs = tmp_path / "refer" / "refcoco" / "refs(unc).p"
    import pickle

    refs.write_bytes(pickle.dumps([{**ref, "image_id": 1} for ref in pickle.loads(refs.read_bytes())], protocol=2))
    read, calls = image_builder.read_image, []
    monkeypatch.setattr(image_builder, "read_image", lambda path: calls.append(path) or read(path))
    assert build_batches.main(["-d", "unc", "-t", "train", "--skip-errors", *arguments]) == 0
    assert len(calls) == 1
