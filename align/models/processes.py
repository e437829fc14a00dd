"""The processes that accelerate launched, if it did."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState

#: How long one process waits for another: longer than any run, since a process that fails ends them all.
PATIENCE = timedelta(days=30)


def processes() -> PartialState:
    """Tell which of how many processes this is; alone, it is the first of one."""
    # without `cpu` a machine without GPUs would be taken for one process, whatever was launched
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
