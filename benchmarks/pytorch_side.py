"""What the sides of `peers.py` under PyTorch share."""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from peer_process import answer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def run_side(options: argparse.Namespace, parts: dict[str, nn.Module], make_step: Callable[[], Callable]):
    """Writes the random weights of an original, or reads them and answers.

    Args:
        options: From `peer_process.parse_side`.
        parts: The networks of the original by the end of the name of their file.
        make_step: Returns what a call does; of inference it returns the numbers that are compared with ours.
    """
    warnings.simplefilter("ignore")  # The code is that of old versions of PyTorch.
    for end, part in parts.items():
        if options.save:
            torch.save(part.state_dict(), options.weights + end)
        else:
            part.load_state_dict(torch.load(options.weights + end))
    if options.save:
        return
    step = make_step()
    answer(step, count=lambda _: {"gflop": _count(step)}, save=lambda path: np.save(path, step().numpy()))


def _count(step: Callable[[], object]) -> float:
    """10^9 operations of the matrix products and convolutions of a call, without those inside of an LSTM."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9
