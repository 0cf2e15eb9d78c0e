"""The log of a training run, whole and damaged."""

import pytest

from cmpc_tf2.training.run_log import RunLog, read_log


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    """A checkpoint was damaged, so the run is resumed from the one before it."""
    (tmp_path / "log.csv").write_text("step,loss,val_overall_iou\n10,3,0.2\n20,2,0.5\n30,1,0.9\n")
    log = RunLog(tmp_path, 20)
    assert [row["step"] for row in read_log(tmp_path)] == ["10", "20"]
    assert not log.is_best({"val_overall_iou": 0.5}) and log.is_best({"val_overall_iou": 0.6})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 300,
        b"10,3,0.2\n20,2,0.5\n",
        b"step,loss,step\n10,3,10\n",
        b"step,loss\n10,3\n\x00\x00\n",
        b"step,loss\n10,3\n20\n",
        b"step,loss\n10,3,4\n",
        b"step,loss\n1.5,3\n",
        b"step,loss\n-1,3\n",
        b"step,loss\n,3\n",
        b"step,loss\n10,nan\n",
        b"step,loss\n10,three\n",
        b'step,loss\n10,"3\n',
        b"step,loss\n10,\xff\n",
        b"step,loss\n" + b"1" * 200_000 + b",3\n",
        None,
    ],
)
def test_a_damaged_log_is_kept_under_another_name(content, tmp_path, caplog):
    """The run is resumed. The old log is kept, and so is the best model, because its score is unknown."""
    path = tmp_path / "log.csv"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    (tmp_path / "log.old.csv").write_text("earlier")
    (tmp_path / "best.keras").write_text("best")
    log = RunLog(tmp_path, 20)
    assert "a new log is begun, what was there is kept as log.old-2.csv, best.old.keras" in caplog.text
    assert content is None or (tmp_path / "log.old-2.csv").read_bytes() == content
    assert (tmp_path / "log.old.csv").read_text() == "earlier"
    assert (tmp_path / "best.old.keras").read_text() == "best" and not (tmp_path / "best.keras").exists()
    assert log.is_best({"val_overall_iou": 0.0})
    log.write({"step": 30, "loss": 2.5, "val_overall_iou": 0.0}, [])
    log = RunLog(tmp_path, 30)
    assert read_log(tmp_path) == [{"step": "30", "loss": "2.5", "val_overall_iou": "0.0"}]
    assert not log.is_best({"val_overall_iou": 0.0})


def test_rows_with_other_columns_are_merged(tmp_path):
    """The log was started by another version."""
    (tmp_path / "log.csv").write_text("step,loss\n10,3\n")
    RunLog(tmp_path, 10).write({"step": 20, "rate": 0.5}, [])
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss,rate", "10,3,", "20,,0.5"]
    RunLog(tmp_path, 10)
    assert read_log(tmp_path) == [{"step": "10", "loss": "3", "rate": ""}]
