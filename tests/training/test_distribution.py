"""Training on several devices and machines."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from cmpc_tf2.model_files import load_model
from cmpc_tf2.training.run_log import read_log
from conftest import PATIENCE, ROOT
from small import assert_same_weights, weights_of

DEVICES_SCRIPT = """
import sys, tensorflow as tf
if sys.argv[1] == "two":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cmpc_tf2.cli import main
sys.exit(main(["train", *sys.argv[2:]]))
"""


def start(devices: str, *arguments, **environment) -> subprocess.Popen:
    command = [sys.executable, "-c", DEVICES_SCRIPT, devices, *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen):
    error = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, error


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.slow
def test_the_number_of_devices_does_not_matter(squares, small_model_file, tmp_path):
    """One device, two devices and two machines give the same weights after ten steps."""
    common = ["-d", "unc", "-t", "train", "--batch-root", squares, "--model", small_model_file, "-bs", "4"]
    common += ["--steps", "10", "--checkpoint-every", "5", "--validation-split", "val", "--output-dir"]
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = [
        start("one", *common, tmp_path / "one"),
        start("two", *common, tmp_path / "two", "--strategy", "mirrored"),
    ]
    for process in processes:
        finish(process)
    processes = []
    for index in range(2):
        cluster = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        options = [*common, tmp_path / "workers", "--strategy", "multiworker"]
        processes.append(start("one", *options, TF_CONFIG=cluster))
    for process in processes:
        finish(process)
    expected = weights_of(load_model(tmp_path / "one" / "last.keras"))
    before = weights_of(load_model(small_model_file))
    assert any(np.abs(value - before[path]).max() > 1e-3 for path, value in expected.items())
    for folder in ("two", "workers"):
        assert_same_weights(expected, weights_of(load_model(tmp_path / folder / "last.keras")), tolerance=1e-5)
    expected = read_log(tmp_path / "one")
    assert [row["step"] for row in expected] == ["5", "10"]
    for folder in ("two", "workers"):
        for row, expected_row in zip(read_log(tmp_path / folder), expected, strict=True):
            assert list(row) == list(expected_row)
            for name, value in expected_row.items():
                assert float(row[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), (folder, name)


@pytest.mark.slow
@pytest.mark.parametrize("options, tolerance", [(["--accumulate", "2"], 1e-5), (["--precision", "float16"], 1e-2)])
def test_several_devices_with_accumulation_and_lower_precision(options, tolerance, squares, small_model_file, tmp_path):
    """Two devices give the losses of one in ten steps."""
    common = ["-d", "unc", "-t", "train", "--batch-root", squares, "--model", small_model_file, "-bs", "4"]
    common += ["--steps", "10", "--checkpoint-every", "5", *options, "--output-dir"]
    processes = [
        start("one", *common, tmp_path / "one"),
        start("two", *common, tmp_path / "two", "--strategy", "mirrored"),
    ]
    for process in processes:
        finish(process)
    losses = [[float(row["loss"]) for row in read_log(tmp_path / name)] for name in ("one", "two")]
    assert losses[0][1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance)
