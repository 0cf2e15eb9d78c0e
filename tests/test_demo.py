import json

import pytest

from cmpc_tf2.cli import main


@pytest.mark.slow
def test_the_demo_runs_from_anywhere(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--output", "out"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"cmpc.keras", "conversion.json", "overlay.png", "picture.png", "tf1", "vocabulary.txt"} <= names
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["missing"] == report["unexpected"] == []
    assert "the red circle: " in capfd.readouterr().out
