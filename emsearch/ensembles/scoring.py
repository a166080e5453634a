"""Score an ensemble beside its rivals on whole splits: overlap, gains, disagreement, calibration.

Axes: C cell of a split, K class, N voxel, Z Y X voxels in array order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emsearch.ensembles.calibrate import Reliability
from emsearch.ensembles.gain import gains_over
from emsearch.inference.box import Box
from emsearch.inference.cells import Cell, cells_of
from emsearch.inference.committee import tempered
from emsearch.inference.part import Part
from emsearch.inference.predict import Predictor
from emsearch.inference.score import (
    Ballot,
    Verdict,
    judge_blocks,
)
from emsearch.metrics.overlap import Confusion, confusion
from emsearch.metrics.scorecard import score
from emsearch.records.score import Score, Split

__all__ = ["Entry", "Look", "SplitResult", "score_split"]

Slices = tuple[slice, slice, slice]
Look = Callable[[Part, Box, NDArray[np.int16], NDArray[np.uint8]], None]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitResult:
    """What the ensemble and its rivals come to on a split, by name."""

    scores: dict[str, Score]
    gains: dict[str, dict[str, Any]]
    """The ensemble's over each rival, as JSON values of `Gain`."""
    disagreement: dict[str, float]
    """Part of the voxels on which two members differ, the mean over pairs."""
    calibration: dict[str, dict[str, float]]
    """Expected calibration error, and that at the entry's temperature."""


@dataclass(kw_only=True, slots=True)
class _Tally:
    """Counts of one entry."""

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


def score_split(
    parts: Sequence[Part],
    split: Split,
    entries: Sequence[Entry],
    predictors: Mapping[int, Predictor],
    looks: Iterable[Look] = (),
) -> SplitResult:
    """Return what the entries come to on a split; the first is the ensemble that gains count for.

    Each network predicts a block once, for all entries that it belongs to. Each of `looks` is
    shown each block with its truth_ZYX and the first entry's labels_ZYX; what it raises ends this.
    """
    tallies = {entry.name: _Tally() for entry in entries}
    ballots = {entry.name: entry.ballot for entry in entries}
    grid = cells_of(parts)
    for part, block, truth_ZYX, verdict in judge_blocks(parts, predictors, ballots):
        for look in looks:
            look(part, block, truth_ZYX, verdict.labels(entries[0].name))
        pieces = [(cell, box.slices(block.start_zyx)) for cell, box in grid.cut(part, block)]
        for entry in entries:
            tallies[entry.name].add(entry, pieces, truth_ZYX, verdict)
    cells = {name: tally.confusion_CKK for name, tally in tallies.items()}
    return SplitResult(
        scores={name: score(confusion_CKK.sum(0), split) for name, confusion_CKK in cells.items()},
        gains={name: asdict(gain) for name, gain in gains_over(entries[0].name, cells).items()},
        disagreement={
            name: tally.differing / max(tally.voxels, 1)
            for name, tally in tallies.items()
            if tally.pairs
        },
        calibration={
            name: {"error": tally.raw.error, "tempered_error": tally.tempered.error}
            for name, tally in tallies.items()
        },
    )
