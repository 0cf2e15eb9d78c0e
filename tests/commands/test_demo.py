import csv
import json

import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.commands import demo


@pytest.mark.slow
def test_the_demo_runs_from_anywhere(tmp_path, monkeypatch, capfd):
    """The demo runs as for users, with a shorter training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "STEPS", 20)
    assert main(["demo", "--output", "out"]) == 0
    output = capfd.readouterr().out
    assert "gives the same mask for every sample of val" in output
    folder = tmp_path / "out"
    assert {path.name for path in (folder / "overlays").iterdir()} == {"val", "testA", "testB"}
    for name in ("training_curve.png", "overlay.png", "saved_model/saved_model.pb", "shapes.tfmodel.index"):
        assert (folder / name).stat().st_size
    report = json.loads((folder / "conversion.json").read_text())
    assert report["missing"] == report["unexpected"] == []
    with (folder / "run" / "log.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(2, 21, 2))
    scores = json.loads((folder / "last_testB.json").read_text())
    assert scores["samples"] == 296
    assert f"{scores['dcrf']['mean_iou']:.3f}" in next(line for line in output.splitlines() if line.startswith("testB"))

    assert main(["demo", "--output", "out"]) == 1
    assert "holds a demo already" in capfd.readouterr().err
