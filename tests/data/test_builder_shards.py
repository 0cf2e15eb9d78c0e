"""Builds in shards, merged, give the same bytes as one build."""

import os

import build_batches
from cmpc_tf2.data import builder
from cmpc_tf2.data.batches import read_batch
from refer_layout import make_refer
from split_of_forty import REFERENCES, contents, interrupt


def test_shards_merge_to_the_same_bytes(arguments, whole, tmp_path, capsys):
    for part in ("2/3", "3/3"):
        assert build_batches.main([*arguments, str(tmp_path), "--shard", part]) == 0
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 1
    assert "part-1-of-3: this shard is not there or not complete" in capsys.readouterr().err
    assert build_batches.main([*arguments, str(tmp_path), "--shard", "1/3"]) == 0
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 0
    assert contents(tmp_path) == whole


def test_an_interrupted_merge_is_resumed(arguments, whole, tmp_path, monkeypatch):
    for part in ("1/2", "2/2"):
        assert build_batches.main([*arguments, str(tmp_path), "--shard", part]) == 0
    moves, replace = [], os.replace

    def stop_at_40(source, target):
        moves.append(source)
        if len(moves) == 40:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_at_40)
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 130
    monkeypatch.undo()
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 0
    assert contents(tmp_path) == whole


def test_an_unfinished_unsharded_build_does_not_block_a_merge(arguments, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "publish", interrupt)
    assert build_batches.main([*arguments, str(tmp_path)]) == 130
    monkeypatch.undo()
    for part in ("1/2", "2/2"):
        assert build_batches.main([*arguments, str(tmp_path), "--shard", part]) == 0
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 0
    assert contents(tmp_path) == whole


def test_shards_without_samples_are_not_merged(tmp_path, capsys):
    arguments = ["-d", "unc", "-t", "train", "--skip-errors", *make_refer(tmp_path, REFERENCES[1:3])]
    for image in tmp_path.glob("images/*"):
        image.unlink()
    for part in ("1/2", "2/2"):
        assert build_batches.main([*arguments, "--shard", part]) == 0
    assert build_batches.main([*arguments, "--merge"]) == 1
    assert "train_batch: nothing to write: all 4 samples were skipped" in capsys.readouterr().err
    assert len(list(tmp_path.glob("unc/*"))) == len(list(tmp_path.glob("unc/.*part-*"))) == 2


def test_an_incomplete_shard_is_rebuilt(arguments, whole, tmp_path, capsys):
    for part in ("1/2", "2/2"):
        assert build_batches.main([*arguments, str(tmp_path), "--shard", part]) == 0
    (tmp_path / "unc" / ".train_batch.part-1-of-2" / "unc_train_7.npz").unlink()
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 1
    assert "part-1-of-2: this shard is not there or not complete; build it with --shard 1/2" in capsys.readouterr().err
    assert build_batches.main([*arguments, str(tmp_path), "--shard", "1/2"]) == 0
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 0
    assert contents(tmp_path) == whole


def test_overwrite_rebuilds_a_complete_shard(arguments, tmp_path):
    shard = [*arguments, str(tmp_path), "--shard", "1/8"]
    assert build_batches.main(shard) == 0
    before = {path: path.stat().st_ino for path in tmp_path.glob("unc/.*/*.npz")}
    assert build_batches.main(shard) == 0
    assert {path: path.stat().st_ino for path in before} == before
    for path in before:
        path.write_bytes(b"damaged")
    assert build_batches.main([*shard, "--overwrite"]) == 0
    assert before and all(read_batch(path) for path in before)


def test_shards_of_different_sources_are_not_merged(arguments, tmp_path, capsys):
    assert build_batches.main([*arguments, str(tmp_path), "--shard", "1/2"]) == 0
    assert build_batches.main([*arguments, str(tmp_path), "--shard", "2/2", "--compress"]) == 0
    assert build_batches.main([*arguments, str(tmp_path), "--merge"]) == 1
    assert "built from different sources or with different settings" in capsys.readouterr().err
