"""Model files of earlier versions load, and give what they gave."""

import numpy as np
import pytest

import cmpc_tf2
from cmpc_tf2.systems import SYSTEMS
from original import GOLDEN

FOLDER = GOLDEN / "saved_0.1.0"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.keras")))
def test_files_of_version_0_1_0(name):
    model = cmpc_tf2.load_model(FOLDER / f"{name}.keras")
    assert type(model) is SYSTEMS[name].model_type
    with np.load(FOLDER / "outputs.npz") as stored:
        expected = {key.split("/")[1]: stored[key] for key in stored.files if key.startswith(f"{name}/")}
        names = model.input if isinstance(model.input, dict) else ["image"]
        inputs = {key: stored[key] for key in names}
    found = model(inputs if isinstance(model.input, dict) else inputs["image"], training=False)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()), err_msg=key)
