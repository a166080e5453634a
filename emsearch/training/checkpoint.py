"""Checkpoints: whole or absent, named by their step, found whichever attempt wrote them."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from emsearch.records.files import replacing

__all__ = [
    "CHECKPOINT",
    "PLATEAU",
    "drop_checkpoints",
    "load_newest",
    "save_checkpoint",
    "write_state",
]

_UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError)


CHECKPOINT = "checkpoint"
PLATEAU = "plateau"
"""The state from before the decay, from which a training can be extended."""


def save_checkpoint(
    folder: Path, step: int, state: Mapping[str, Any], kind: str = CHECKPOINT
) -> Path:
    """Write `state` as the checkpoint of `step` into `folder`, then drop older ones of its kind.

    A reader finds it whole or not at all; until it is whole, the older one stays.
    """
    path = folder / f"{kind}-{step:09d}.pt"
    with replacing(path) as scratch:
        write_state(state, scratch)
    for old in folder.glob(f"{kind}-*.pt"):
        if old != path:
            old.unlink(missing_ok=True)
    return path


def write_state(state: Mapping[str, Any], path: Path) -> None:
    """Write a state. Raises OSError, as where the disk is full: torch alone does not tell that."""
    with path.open("wb") as file:
        torch.save(dict(state), file)


def load_newest(
    attempts: Path, device: torch.device, can_use: Callable[[Mapping[str, Any]], bool] = bool
) -> dict[str, Any] | None:
    """Return the state with the highest step that any attempt's folder below `attempts` holds.

    One that cannot be read, or that `can_use` refuses, is passed over for the next; None where none
    is left.
    """
    paths = [path for kind in (CHECKPOINT, PLATEAU) for path in attempts.glob(f"*/{kind}-*.pt")]
    for path in sorted(paths, key=lambda path: path.stem.partition("-")[2], reverse=True):
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except _UNREADABLE:
            continue
        if can_use(state):
            return state
    return None


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints in `folder`, and scratch files that a killed writer left there."""
    for pattern in ("checkpoint-*.pt", ".checkpoint-*", ".plateau-*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
