"""What a training was made with, so that it can be made again."""

import platform
from typing import Any

import numpy as np
import torch

from emsearch.records.order import TrainOrder, tree_of
from emsearch.records.version import code_version

__all__ = ["provenance"]


def provenance(task: TrainOrder, device: torch.device) -> dict[str, Any]:
    """Return seed, code, libraries, device and checksums of the data as JSON values."""
    is_cuda = device.type == "cuda"
    return {
        "trial": task.trial,
        "seed": task.seed,
        "tree": tree_of(task).digest(),
        "recipe": task.recipe.digest(),
        "emsearch": code_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if is_cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "data": {volume.name: volume.checksum for volume in task.dataset.volumes},
    }
