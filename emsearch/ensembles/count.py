"""What is counted while a split is scored: it adds up, and can be kept amid it.

Axes: C cell of a split, K class, N voxel, Z Y X voxels in array order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emsearch.ensembles.calibrate import Reliability
from emsearch.ensembles.worst import Worst
from emsearch.inference.cells import Cell
from emsearch.inference.committee import tempered
from emsearch.inference.part import Part
from emsearch.inference.score import Ballot, Verdict
from emsearch.metrics.overlap import Confusion, confusion

__all__ = ["Count", "Entry", "Tally"]

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The ensemble or a rival of it."""

    name: str
    kind: str
    """ensemble, single, baseline or baseline_ensemble."""
    method: str
    ballot: Ballot
    """Weight by trial."""
    temperature: float = 1.0


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts of one entry; they add up, block after block."""

    cells: dict[Cell, Confusion] = field(default_factory=dict)
    differing: float = 0.0
    pairs: int = 0
    voxels: int = 0
    raw: Reliability = field(default_factory=Reliability)
    tempered: Reliability = field(default_factory=Reliability)

    def add(
        self,
        entry: Entry,
        pieces: Iterable[tuple[Cell, Slices]],
        truth_ZYX: NDArray[np.int16],
        verdict: Verdict,
    ) -> None:
        """Count a block, whose pieces belong to cells."""
        probability_KZYX = verdict.probabilities[entry.name]
        classes = len(probability_KZYX)
        labels_ZYX = verdict.labels(entry.name)
        for cell, place in pieces:
            counts_KK = confusion(labels_ZYX[place], truth_ZYX[place], classes)
            self.cells[cell] = self.cells[cell] + counts_KK if cell in self.cells else counts_KK
        known_ZYX = truth_ZYX >= 0
        voxels = int(np.count_nonzero(known_ZYX))
        self.voxels += voxels
        pairs = list(combinations(entry.ballot.weights, 2))
        self.pairs = len(pairs)
        for one, other in pairs:
            differ_ZYX = (verdict.votes[one] != verdict.votes[other]) & known_ZYX
            self.differing += np.count_nonzero(differ_ZYX) / len(pairs)
        true_N = truth_ZYX.reshape(-1)
        self.raw.add(probability_KZYX.reshape(classes, -1), true_N)
        calibrated = tempered(torch.from_numpy(probability_KZYX), entry.temperature).numpy()
        self.tempered.add(calibrated.reshape(classes, -1), true_N)

    @property
    def confusion_CKK(self) -> NDArray[np.int64]:
        """Counts by cell, in the same order for all entries of a split."""
        return np.stack([self.cells[cell] for cell in sorted(self.cells)])

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values, which hold every bit of them."""
        return {
            "cells": [[list(cell), counts_KK.tolist()] for cell, counts_KK in self.cells.items()],
            "differing": self.differing,
            "pairs": self.pairs,
            "voxels": self.voxels,
            "raw": self.raw.to_dict(),
            "tempered": self.tempered.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Tally":
        """Return the counts that `to_dict` gave."""
        cells = {
            (part, z, y, x): np.array(counts_KK, np.int64)
            for (part, z, y, x), counts_KK in values["cells"]
        }
        raw, calibrated = (Reliability.from_dict(values[name]) for name in ("raw", "tempered"))
        return cls(**{**values, "cells": cells, "raw": raw, "tempered": calibrated})


@dataclass(kw_only=True, slots=True)
class Count:
    """What was counted of a split so far."""

    tallies: dict[str, Tally]
    """By entry."""
    worst: Worst
    """Of the first entry, the ensemble."""
    blocks: int = 0
    """How many were counted."""

    @classmethod
    def begin(cls, entries: Sequence[Entry]) -> "Count":
        """Return what there is before the first block."""
        return cls(tallies={entry.name: Tally() for entry in entries}, worst=Worst())

    def to_dict(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "tallies": {name: tally.to_dict() for name, tally in self.tallies.items()},
            "worst": self.worst.to_dict(parts),
            "blocks": self.blocks,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], parts: Sequence[Part]) -> "Count":
        """Return what `to_dict` gave, of the same parts."""
        tallies = {name: Tally.from_dict(tally) for name, tally in values["tallies"].items()}
        worst = Worst.from_dict(values["worst"], parts)
        return cls(tallies=tallies, worst=worst, blocks=values["blocks"])
