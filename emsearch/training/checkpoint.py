"""Checkpoints: whole or absent, named by their step, found whichever attempt wrote them."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from emsearch.records.files import replacing

__all__ = ["drop_checkpoints", "load_newest", "save_checkpoint"]

_UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError)


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write `state` as the checkpoint of `step` into `folder`, then drop the folder's older ones.

    A reader finds it whole or not at all; until it is whole, the older one stays.
    """
    path = folder / f"checkpoint-{step:09d}.pt"
    with replacing(path) as scratch:
        torch.save(dict(state), scratch)
    for old in folder.glob("checkpoint-*.pt"):
        if old != path:
            old.unlink(missing_ok=True)
    return path


def load_newest(attempts: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the state with the highest step that any attempt's folder below `attempts` holds.

    One that cannot be read is passed over for the next; None where none can.
    """
    paths = sorted(attempts.glob("*/checkpoint-*.pt"), key=lambda path: path.name, reverse=True)
    for path in paths:
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except _UNREADABLE:
            continue
        return state
    return None


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints in `folder`, and scratch files that a killed writer left there."""
    for pattern in ("checkpoint-*.pt", ".checkpoint-*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
