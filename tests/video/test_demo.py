import json

import pytest

from cmpc_video_tf2.cli import main
from cmpc_video_tf2.commands import demo


@pytest.mark.slow
def test_the_demo_runs_from_anywhere(tmp_path, monkeypatch, capfd):
    """The demo runs as for users, with a shorter training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "STEPS", 20)
    assert main(["demo", "--output", "out"]) == 0
    output, folder = capfd.readouterr().out, tmp_path / "out"
    report = json.loads((folder / "test.json").read_text())
    assert report["samples"] == 777 and len(list((folder / "overlays").glob("*.png"))) == 777
    assert (folder / "prediction" / "overlay.mp4").stat().st_size and (folder / "training_curve.png").stat().st_size
    scores = demo.scores_by_kind(report, folder)
    counts = {kind.strip(): count for kind, (count, _) in scores.items()}
    assert counts["all"] == counts["attributes"] + counts["actions"] == 777
    assert counts["actions"] == counts["swelling"] + counts["shrinking"]
    assert scores["all"][1] == pytest.approx(report["plain"]["overall_iou"])
    for kind, (count, score) in scores.items():
        assert f"{kind:14}{count:9}{score:14.3f}" in output
    assert main(["demo", "--output", "out"]) == 1
    assert "holds a demo already" in capfd.readouterr().err
