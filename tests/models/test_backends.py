"""The models on another Keras backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from cmpc_tf2.systems import SYSTEMS
from maskris_original import TINY
from small import SMALL, SMALL_ANCESTOR

SIZES = {"cmpc": SMALL, "maskris": TINY}
ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import numpy as np
from cmpc_tf2.systems import SYSTEMS
from maskris_original import TINY
from small import SMALL, SMALL_ANCESTOR

data, found = dict(np.load(sys.argv[1])), {}
for name in sys.argv[3:]:
    model = SYSTEMS[name].model_type({"cmpc": SMALL, "maskris": TINY}.get(name, SMALL_ANCESTOR))
    for variable in model.weights:
        variable.assign(data[f"{name}/{variable.path}"])
    out = model.predict_on_batch({input: data[f"{name}/{input}"] for input in model.input})
    found |= {f"{name}/{output}": np.asarray(value) for output, value in out.items()}
np.savez(sys.argv[2], **found)
assert "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize("names", [["cmpc"], pytest.param(["rrn", "rmi", "lstm", "maskris"], marks=pytest.mark.slow)])
def test_jax_gives_the_same(names, tmp_path, rng):
    pytest.importorskip("jax")
    keras.utils.set_random_seed(1)
    models = {name: SYSTEMS[name].model_type(SIZES.get(name, SMALL_ANCESTOR)) for name in names}
    inputs = {name: random_inputs(model, rng) for name, model in models.items()}
    data = {f"{name}/{input}": value for name in names for input, value in inputs[name].items()}
    for name, model in models.items():
        data |= {f"{name}/{v.path}": keras.ops.convert_to_numpy(v) for v in model.weights}
    np.savez(tmp_path / "in.npz", **data)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # They take longer than the model.
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), *names]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    out = np.load(tmp_path / "out.npz")
    for name, model in models.items():
        for output, expected in model(inputs[name]).items():
            np.testing.assert_allclose(out[f"{name}/{output}"], expected, atol=1e-5, err_msg=f"{name}/{output}")


def random_inputs(model, rng) -> dict[str, np.ndarray]:
    side, is_maskris = model.config.image_size, "token_mask" in model.input
    token_ids = np.array([[0] * 17 + [4, 5, 6], [0] * 19 + [3]], "int32")
    if is_maskris:
        token_ids = token_ids[:, ::-1]
    inputs = {"image": rng.normal(0, 1 if is_maskris else 50, size=(2, side, side, 3)).astype("float32")}
    inputs |= {"token_ids": token_ids, "token_mask": (token_ids > 0).astype("int32")}
    return {name: inputs[name] for name in model.input}
