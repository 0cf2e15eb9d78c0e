"""The comparison of every system with its original, at small sizes."""

import dataclasses
import sys

import naive_graph
import numpy as np
import our_side
import peer_process
import peers
import pytest
import tensorflow as tf
from counting import count_gflop

from cmpc_tf2.model_files import load_model
from conftest import ROOT
from small import SMALL

# A side whose calls return nothing and whose numbers are 1 and this.
SIDE = """
import sys
import numpy as np
sys.path.append({folder!r})
from peer_process import answer
answer(
    lambda: None,
    count=lambda _: {{"gflop": 3.0, "gflops": 6.0}},
    save=lambda path: np.save(path, np.ones(2)),
    compare=lambda path: float(abs(np.load(path) - {value}).max()),
)
"""


@pytest.fixture
def small_inputs(monkeypatch):
    size = (SMALL.image_size, SMALL.image_size)
    inputs = {name: dataclasses.replace(one, picture=size) for name, one in peer_process.INPUTS.items()}
    inputs["cmpc"] = dataclasses.replace(inputs["cmpc"], token_ids=(4, SMALL.vocabulary_size))
    monkeypatch.setattr(peer_process, "INPUTS", inputs)


def test_both_sides_of_cmpc_answer_alike(small_model_file, small_inputs, eager):
    model = load_model(small_model_file)
    with eager():
        for pictures, sentences in ((1, 2), (2, 2)):
            theirs = naive_graph.make_inference(model, pictures, sentences)()
            _, answers = our_side.make_inference("cmpc", model, pictures, sentences)
            np.testing.assert_allclose(answers(), theirs, rtol=0, atol=1e-5)
        losses = naive_graph.make_training(model, 1)(), our_side.make_training("cmpc", model, 1, 1)()
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_encoding_once_saves_arithmetic(small_model_file, small_inputs):
    model = load_model(small_model_file)
    theirs = [count_gflop(naive_graph.make_inference(model, 1, n)) for n in (1, 2)]
    ours = [count_gflop(our_side.make_inference("cmpc", model, 1, n)[0]) for n in (1, 2)]
    assert theirs[1] == pytest.approx(2 * theirs[0])
    assert ours[1] < 2 * ours[0]


def test_pairs_of_mattnet_are_what_its_network_takes():
    """Each picture has 27 pairs: 3 objects with 3 sentences each, and what does not fit them."""
    features, rows, attributes, weights = peer_process.make_pairs(2)
    inputs, target = our_side.make_batch("mattnet", None, 2, 18)
    assert rows.shape == (54,) and inputs["token_ids"].shape == (54, 10)
    assert inputs["pool5"].shape == (rows.max() + 1, 1, 49, 1024) and features["cxt_lfeats"].shape[1:] == (5, 5)
    fitting, others, again = rows.reshape(3, 18)
    assert (fitting == again).all() and (fitting != others).all() and len(set(fitting)) == 6
    np.testing.assert_array_equal(inputs["rows"], rows)
    np.testing.assert_array_equal(target["attributes"], attributes)
    assert weights.min() == 1 and weights.max() == 10


def test_operations_are_counted():
    matrix, batch = tf.ones((3, 4)), tf.ones((2, 3, 4))
    picture, kernel = tf.ones((1, 6, 6, 2)), tf.ones((3, 3, 2, 5))
    convolution = 2 * 6 * 6 * 5 * 3 * 3 * 2

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch([picture, kernel])
            result = tf.nn.conv2d(picture, kernel, 1, "SAME")
        tape.gradient(result, [picture, kernel])

    cases = [
        (lambda: tf.matmul(matrix, matrix, transpose_a=True), 2 * 3 * 4 * 4),
        (lambda: tf.matmul(matrix, matrix, transpose_b=True), 2 * 3 * 4 * 3),
        (lambda: tf.matmul(batch, batch, transpose_b=True), 2 * 2 * 3 * 4 * 3),
        (lambda: tf.einsum("bij,bkj->bik", batch, batch), 2 * 2 * 3 * 4 * 3),
        (lambda: tf.einsum("...ij,...kj->...ik", batch, matrix), 2 * 2 * 3 * 4 * 3),
        (gradients, 3 * convolution),
    ]
    for function, expected in cases:
        assert count_gflop(tf.function(function)) * 1e9 == pytest.approx(expected)


def test_a_row_is_measured(tmp_path):
    commands = {}
    for side, value in ((peers.ORIGINAL, 1.0), (peers.OURS, 1.5)):
        script = tmp_path / f"{side}.py"
        script.write_text(SIDE.format(folder=str(ROOT / "benchmarks"), value=value))
        commands[side] = [sys.executable, script]
    row = peers.measure_row(commands, 2, tmp_path / "answers.npy")
    assert row["difference"] == 0.5 and row["gflops"] == 6
    for side in commands:
        assert row[side]["gflop"] == 3 and row[side]["peak_mb"] > 0
        assert row[side]["start_seconds"] > row[side]["seconds"] >= 0


def test_a_side_that_fails_is_named(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("")
    with pytest.raises(SystemExit, match=r"broken\.py failed"):
        peers.measure_row({peers.OURS: [sys.executable, script]}, 1, None)


def test_what_is_lacking_is_named(tmp_path, monkeypatch, capsys):
    names = ["maskris", "sl_att", "mattnet"]
    monkeypatch.setattr(sys, "argv", ["peers.py", "--systems", *names])
    peers.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert (
        lines[0]
        == "MaskRIS: skipped; it needs a clone of https://github.com/naver-ai/maskris in a folder given with --clones"
    )
    (tmp_path / "maskris").mkdir()
    monkeypatch.setattr(sys, "argv", ["peers.py", "--systems", "maskris", "--clones", str(tmp_path)])
    peers.main()
    assert capsys.readouterr().out == "MaskRIS: skipped; it needs --torch-python, a Python with torch\n"
