"""What batches really held, class by class.

Axes: B batch, K class, Z Y X voxels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.volumes.dataset import IGNORE

__all__ = ["Drawn", "Realised"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What some batches hold."""

    fractions_K: tuple[float, ...]
    """Part of the annotated voxels that each class takes."""
    seen_K: tuple[float, ...]
    """Part of the batches in which each class is seen."""
    annotated: float
    """Part of the voxels that is annotated and for training."""


class Realised:
    """Counts of the classes in the batches that were drawn."""

    def __init__(self, classes: int) -> None:
        self.batches = 0
        self.voxels_K = np.zeros(classes, np.int64)
        self.ignored = 0
        self.seen_K = np.zeros(classes, np.int64)
        """Batches that held the class."""

    def add(self, labels_BZYX: NDArray[Any]) -> None:
        """Count a batch in."""
        raised = labels_BZYX.reshape(-1) - IGNORE  # ignored voxels become 0
        counts = np.bincount(raised, minlength=len(self.voxels_K) + 1)
        self.batches += 1
        self.ignored += int(counts[0])
        self.voxels_K += counts[1:]
        self.seen_K += counts[1:] > 0

    def drawn(self) -> Drawn:
        """Return the frequencies so far."""
        annotated = int(self.voxels_K.sum())
        return Drawn(
            fractions_K=tuple((self.voxels_K / max(annotated, 1)).tolist()),
            seen_K=tuple((self.seen_K / max(self.batches, 1)).tolist()),
            annotated=annotated / max(annotated + self.ignored, 1),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` goes on from."""
        return {
            "batches": self.batches,
            "voxels_K": self.voxels_K.tolist(),
            "ignored": self.ignored,
            "seen_K": self.seen_K.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.batches, self.ignored = state["batches"], state["ignored"]
        self.voxels_K = np.array(state["voxels_K"], np.int64)
        self.seen_K = np.array(state["seen_K"], np.int64)
