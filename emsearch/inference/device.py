"""Where networks run, how fast, and that they compute the same bits each time."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from emsearch.errors import SpecError
from emsearch.networks.layout import channels_last

__all__ = ["keep_memory", "pick_device", "place", "reproducible"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def pick_device(name: str) -> torch.device:
    """Return the device that `name` (cpu, cuda, cuda:N, auto) stands for.

    Raises SpecError for cuda on a machine without it.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SpecError(f'device = "{name}", but this machine has no CUDA device; say auto or cpu')
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network on its device; one of 2-D convolutions with channels last, the faster.

    On one CPU core that saves a tenth of a training step.
    """
    network = network.to(device)
    is_deep = any(weight.ndim == 5 for weight in network.parameters())
    return network if is_deep else channels_last(network)


def keep_memory() -> None:
    """Have the C library keep freed memory rather than give it back after every layer.

    Else each large activation is mapped anew and its pages are cleared one by one: a quarter of a
    training step on a CPU, half of a prediction with large windows. Does nothing without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL("libc.so.6")
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(_M_TOP_PAD, 64 << 20)


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Within it torch uses deterministic operations; a GPU warns of those that have none.

    Threads are fixed by OMP_NUM_THREADS, where it is set.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cpu":
        keep_memory()
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
