"""The models on another Keras backend."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from cmpc_tf2.systems import SYSTEMS
from conftest import ROOT
from small import SMALL, SMALL_ANCESTOR

SCRIPT = """
import sys
import numpy as np
from cmpc_tf2.systems import SYSTEMS
from small import SMALL, SMALL_ANCESTOR

data, found = dict(np.load(sys.argv[1])), {}
for name in sys.argv[3:]:
    model = SYSTEMS[name].model_type(SMALL if name == "cmpc" else SMALL_ANCESTOR)
    for variable in model.variables:
        variable.assign(data[f"{name}/{variable.path}"])
    out = model.predict_on_batch({"image": data["image"], "token_ids": data["token_ids"]})
    found |= {f"{name}/{output}": np.asarray(value) for output, value in out.items()}
np.savez(sys.argv[2], **found)
assert "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize("names", [["cmpc"], pytest.param(["rrn", "rmi", "lstm"], marks=pytest.mark.slow)])
def test_jax_gives_the_same(names, tmp_path, rng):
    pytest.importorskip("jax")
    keras.utils.set_random_seed(1)
    models = {name: SYSTEMS[name].model_type(SMALL if name == "cmpc" else SMALL_ANCESTOR) for name in names}
    inputs = {
        "image": rng.normal(0, 50, size=(2, 32, 32, 3)).astype("float32"),
        "token_ids": np.array([[0] * 17 + [4, 5, 6], [0] * 19 + [3]], "int32"),
    }
    weights = {
        f"{name}/{v.path}": keras.ops.convert_to_numpy(v) for name, model in models.items() for v in model.variables
    }
    np.savez(tmp_path / "in.npz", **inputs, **weights)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # They take longer than the model.
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), *names]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    out = np.load(tmp_path / "out.npz")
    for name, model in models.items():
        for output, expected in model(inputs).items():
            np.testing.assert_allclose(out[f"{name}/{output}"], expected, atol=1e-5, err_msg=f"{name}/{output}")
