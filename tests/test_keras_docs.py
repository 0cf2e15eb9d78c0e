"""The code of `docs/keras.md` and of the notebooks runs."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import cmpc_tf2
from cmpc_tf2.models.cmpc.model import CMPC
from conftest import ROOT
from examples import blocks_of
from small import CHEAP, WORDS


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Runs the test in an empty folder; pictures are not shown on a screen."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs(in_folder, eagerly):
    CMPC(CHEAP, vocabulary=WORDS).save("cmpc_unc.keras")
    for folder, values in (("photos", (40, 50, 3)), ("masks", (40, 50))):
        (in_folder / folder).mkdir()
        for number in (1, 2, 3):
            pixels = np.random.default_rng(number).integers(0, 2, values).astype(np.uint8)
            Image.fromarray(pixels * 255).save(in_folder / folder / f"{number}.{'png' if folder == 'masks' else 'jpg'}")
    found = {}
    for block in blocks_of("docs/keras.md"):
        exec(block.text, found)
    assert found["mask_logits"].shape == (1, 32, 32, 1)
    assert found["scores"].keys() == {"loss", "overall_iou", "mean_iou"}
    assert found["mask_model"].predict(found["inputs"], verbose=0).shape == (1, 32, 32, 1)
    assert found["resumed"].compiled and not found["plain"].compiled
    assert isinstance(cmpc_tf2.load_model("best.keras"), CMPC)


def run_notebook(name: str) -> dict:
    """Runs the cells of a notebook; returns its variables."""
    notebook, found = json.loads((ROOT / "notebooks" / name).read_text()), {}
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), found)
    return found


@pytest.mark.slow
def test_the_quickstart_runs(in_folder):
    found = run_notebook("quickstart.ipynb")
    losses, scores = (found["history"].history[name] for name in ("loss", "overall_iou"))
    assert losses[-1] < 0.5 * losses[0] and scores[-1] > 0.3
    assert found["prediction"].mask.shape == found["image"].shape[:2]
    assert {reading.word for reading in found["explanation"].words} <= set(found["words"])


@pytest.mark.slow
def test_the_fine_tuning_runs(in_folder):
    found = run_notebook("finetune.ipynb")
    assert max(found["history"].history["val_overall_iou"]) > 0.3
    assert isinstance(found["best"].optimizer, keras.optimizers.Adam)
    assert found["prediction"].mask.shape == (80, 100)
