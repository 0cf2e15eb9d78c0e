"""The demo of boxes with few steps."""

import pytest

from cmpc_tf2.data.shapes import write_shapes
from cmpc_video_tf2.data.moving_shapes import DRAWN_CLIPS, write_clips
from cogrounding_tf2.cli import main


@pytest.mark.slow
@pytest.mark.parametrize("clips", [False, True])
def test_the_demo(clips, tmp_path, capsys):
    """On few pictures or videos, which are drawn before."""
    data = tmp_path / "demo" / "data"
    if clips:
        write_clips(DRAWN_CLIPS["moving_shapes"], data, videos={"train": 4, "test": 2})
    else:
        write_shapes(data, images=8)
    options = ["--output", str(tmp_path / "demo"), "--steps", "10", *["--clips"] * clips]
    assert main(["demo", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["plain", "exact", *["postprocessed"] * clips]
    start = next(number for number, line in enumerate(lines) if line.startswith("boxes "))
    assert [line.split()[0] for line in lines[start + 1 : start + 1 + len(names)]] == names
    assert (tmp_path / "demo" / "training_curve.png").is_file()
