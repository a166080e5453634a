"""Where networks run, and that they compute the same bits each time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from emsearch.errors import SpecError

__all__ = ["pick_device", "reproducible"]


def pick_device(name: str) -> torch.device:
    """Return the device that `name` (cpu, cuda, auto) stands for.

    Raises SpecError for cuda on a machine without it.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SpecError('device = "cuda", but this machine has no CUDA device; say "auto" or "cpu"')
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Within it torch uses deterministic operations; a GPU warns of those that have none.

    Threads are fixed by OMP_NUM_THREADS, where it is set.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    torch.use_deterministic_algorithms(mode=True, warn_only=device.type == "cuda")
    settings.fill_uninitialized_memory = False  # it costs, and nothing reads it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before, warn_only=warned_only)
        settings.fill_uninitialized_memory = filled
