"""Tables of finished trainings, as a policy meets them: candidates and seeds in random order.

Axes: S simulation, A candidate of the table, K its seeds.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsearch.ranking.pooling import Floats, Ints

__all__ = ["Shuffled", "Table", "read_table"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Scores of every training there is."""

    name: str
    score_AK: Floats
    """nan where a candidate has fewer seeds."""

    @property
    def trainings(self) -> int:
        """How many there are."""
        return int(np.isfinite(self.score_AK).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffled:
    """A table in another order for each simulation."""

    score_SAK: Floats
    seeds_SA: Ints
    true_SA: Floats
    """Mean over all seeds of the table."""

    @classmethod
    def of(cls, table: Table, simulations: int, rng: np.random.Generator) -> "Shuffled":
        """Shuffle candidates, and the seeds of each; those that are missing come last."""
        candidates, seeds = table.score_AK.shape
        order_SA = rng.random((simulations, candidates)).argsort(axis=1)
        score_SAK = table.score_AK[order_SA]
        key_SAK = rng.random((simulations, candidates, seeds)) + 2 * np.isnan(score_SAK)
        score_SAK = np.take_along_axis(score_SAK, key_SAK.argsort(axis=2), axis=2)
        return cls(
            score_SAK=score_SAK,
            seeds_SA=np.isfinite(score_SAK).sum(axis=2),
            true_SA=np.nanmean(table.score_AK, axis=1)[order_SA],
        )


def read_table(path: Path, column: str = "mean_iou") -> Table:
    """Read a CSV with the columns architecture and `column`, a row a training."""
    scores: dict[str, list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            scores.setdefault(row["architecture"], []).append(float(row[column]))
    score_AK = np.full((len(scores), max(map(len, scores.values()))), np.nan)
    for place, them in enumerate(scores.values()):
        score_AK[place, : len(them)] = them
    return Table(name=path.stem, score_AK=score_AK)
