"""Which GPUs of this host may be used: neither torch nor a driver is needed to tell."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["gpus_here", "visible_gpus"]

_LIST = "CUDA_VISIBLE_DEVICES"


def gpus_here(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """Return the ids of the GPUs of this host that an environment leaves to its processes."""
    present = len(list(devices.glob("nvidia[0-9]*")))
    return visible_gpus(present, environment.get(_LIST))


def visible_gpus(present: int, listed: str | None) -> list[str]:
    """Return the ids of those of `present` GPUs that CUDA shows, in its order.

    `listed` is what CUDA_VISIBLE_DEVICES says, None where it is not set. As CUDA reads it, an id
    that there is not ends the list. Processes number them from 0: of "2,5" GPU 5 is cuda:1.
    """
    if listed is None or not present:
        return [str(number) for number in range(present)]
    ids = []
    for one in map(str.strip, listed.split(",")):
        is_there = one.isdecimal() and int(one) < present
        if not is_there and not one.startswith(("GPU-", "MIG-")):
            break
        ids.append(one)
    return ids
