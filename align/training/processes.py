"""The processes that accelerate launched, if it did."""

from __future__ import annotations

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """Tell which of how many processes this is; alone, it is the first of one."""
    # without `cpu` a machine without GPUs would be taken for one process, whatever was launched
    return PartialState(cpu=not torch.cuda.is_available())
