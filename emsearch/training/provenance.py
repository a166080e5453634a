"""What a training was made with, so that it can be made again."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from emsearch.records.order import TrainOrder, tree_of
from emsearch.records.version import code_version

__all__ = ["differences", "provenance"]

_LIBRARIES = ("numpy", "scipy", "zarr")


def provenance(task: TrainOrder, device: torch.device) -> dict[str, Any]:
    """Return seed, code, libraries, device and checksums of the data as JSON values."""
    return {
        "trial": task.trial,
        "seed": task.seed,
        "tree": tree_of(task).digest(),
        "recipe": task.recipe.digest(),
        "micro_batch": task.micro_batch,
        "emsearch": code_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in _LIBRARIES},
        "cuda": torch.version.cuda,
        "device": _device(device),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "data": {volume.name: volume.checksum for volume in task.dataset.volumes},
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what two provenances say differently, by key."""
    keys = {**one, **other}
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
