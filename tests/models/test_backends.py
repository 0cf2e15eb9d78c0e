"""The model on another Keras backend."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import numpy as np
from cmpc_tf2.models.cmpc import CMPC
from small import SMALL

model = CMPC(SMALL)
data = dict(np.load(sys.argv[1]))
for variable in model.variables:
    variable.assign(data[variable.path])
out = model({"image": data["image"], "token_ids": data["token_ids"]})
np.savez(sys.argv[2], **{name: np.asarray(value) for name, value in out.items()})
assert "tensorflow" not in sys.modules
"""


def test_jax_gives_the_same(small_model, tmp_path, rng):
    pytest.importorskip("jax")
    inputs = {
        "image": rng.normal(0, 50, size=(2, 32, 32, 3)).astype("float32"),
        "token_ids": np.array([[0] * 17 + [4, 5, 6], [0] * 19 + [3]], "int32"),
    }
    np.savez(tmp_path / "in.npz", **inputs, **{v.path: np.asarray(v) for v in small_model.variables})
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    out = np.load(tmp_path / "out.npz")
    for name, expected in small_model(inputs).items():
        np.testing.assert_allclose(out[name], expected, atol=1e-5)
