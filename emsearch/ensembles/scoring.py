"""Score an ensemble beside its rivals on whole splits: overlap, gains, disagreement, calibration.

Axes: C cell of a split, K class, Z Y X voxels in array order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from emsearch.ensembles.count import Count, Entry
from emsearch.ensembles.gain import gains_over
from emsearch.inference.cells import cells_of
from emsearch.inference.part import Part
from emsearch.inference.predict import Predictor
from emsearch.inference.score import judge_blocks
from emsearch.metrics.scorecard import score
from emsearch.records.score import Score, Split

__all__ = ["SplitResult", "count_split", "result_of"]


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


def count_split(
    parts: Sequence[Part],
    entries: Sequence[Entry],
    predictors: Mapping[int, Predictor],
    count: Count,
    look_up: Callable[[Count], None],
) -> None:
    """Count what the entries come to on the blocks of a split that are not counted yet.

    Each network predicts a block once, for all entries that it belongs to. `look_up` is called
    after each block, and before each network amid one, with the count of whole blocks; what it
    raises ends this, and the block is counted anew.
    """
    ballots = {entry.name: entry.ballot for entry in entries}
    grid = cells_of(parts)
    judged = judge_blocks(parts, predictors, ballots, count.blocks, partial(look_up, count))
    for part, block, truth_ZYX, verdict in judged:
        count.worst.look(part, block, truth_ZYX, verdict.labels(entries[0].name))
        pieces = [(cell, box.slices(block.start_zyx)) for cell, box in grid.cut(part, block)]
        for entry in entries:
            count.tallies[entry.name].add(entry, pieces, truth_ZYX, verdict)
        count.blocks += 1
        look_up(count)


def result_of(count: Count, split: Split) -> SplitResult:
    """Return what the entries come to on a split that is counted; gains are those of the first."""
    cells = {name: tally.confusion_CKK for name, tally in count.tallies.items()}
    return SplitResult(
        scores={name: score(confusion_CKK.sum(0), split) for name, confusion_CKK in cells.items()},
        gains={name: asdict(gain) for name, gain in gains_over(next(iter(cells)), cells).items()},
        disagreement={
            name: tally.differing / max(tally.voxels, 1)
            for name, tally in count.tallies.items()
            if tally.pairs
        },
        calibration={
            name: {"error": tally.raw.error, "tempered_error": tally.tempered.error}
            for name, tally in count.tallies.items()
        },
    )
