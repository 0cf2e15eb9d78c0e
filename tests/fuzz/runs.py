"""Files of a training run."""

import json
from pathlib import Path

from cmpc_tf2.config import ModelConfig, TrainConfig
from cmpc_tf2.run_log import read_log
from cmpc_tf2.train import read_config, read_sizes
from fuzz.targets import Target
from small import SMALL


def run_config(folder: Path) -> Target:
    """A run's `config.json`."""
    configs = [TrainConfig("unc", "train"), TrainConfig("unc", "train", model=SMALL, start_model="m.keras", steps=9)]

    def read(data: bytes):
        (folder / "config.json").write_bytes(data)
        read_config(folder / "config.json")

    return Target([json.dumps(config.to_dict(), indent=1).encode() for config in configs], read)


def sizes(folder: Path) -> Target:
    """A file for `--sizes`."""

    def read(data: bytes):
        (folder / "sizes.json").write_bytes(data)
        read_sizes(ModelConfig, str(folder / "sizes.json"), vocabulary=None)

    return Target([json.dumps(SMALL.to_dict()).encode(), b'{"image_size": 160, "backbone": {"width": 8}}'], read)


def run_log(folder: Path) -> Target:
    """A run's `log.csv`."""

    def read(data: bytes):
        (folder / "log.csv").write_bytes(data)
        read_log(folder)

    lines = ["step,learning_rate,loss,val_overall_iou", "10,0.00025,3.5e4,", "20,0.00024,12.25,0.5", "30,1e-05,1,0.75"]
    return Target(["\r\n".join(lines).encode(), "\n".join([*lines, ""]).encode()], read)
