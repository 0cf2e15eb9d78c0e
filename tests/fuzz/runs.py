"""Files of a training run."""

import json
from pathlib import Path

from cmpc_tf2.commands.train import read_config, read_sizes
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.run_log import read_log
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
        read_sizes(CMPCConfig, str(folder / "sizes.json"), {})

    return Target([json.dumps(SMALL.to_dict()).encode(), b'{"image_size": 160, "backbone": {"width": 8}}'], read)


def run_log(folder: Path) -> Target:
    """A run's `log.csv`."""

    def read(data: bytes):
        (folder / "log.csv").write_bytes(data)
        read_log(folder)

    lines = ["step,learning_rate,loss,val_overall_iou", "10,0.00025,3.5e4,", "20,0.00024,12.25,0.5", "30,1e-05,1,0.75"]
    return Target(["\r\n".join(lines).encode(), "\n".join([*lines, ""]).encode()], read)
