"""Networks against the truth, over a whole split.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from emsearch.inference.box import Box, split_box
from emsearch.inference.committee import block_shape, vote_of
from emsearch.inference.part import Part
from emsearch.inference.predict import Predictor, most_probable
from emsearch.inference.tiles import Tiling
from emsearch.metrics.overlap import Confusion, confusion

__all__ = [
    "Ballot",
    "Verdict",
    "blocks_of",
    "confusion_on",
    "judge",
    "judge_blocks",
]


def blocks_of(parts: Sequence[Part], tilings: Sequence[Tiling]) -> Iterator[tuple[Part, Box]]:
    """Yield the blocks in which networks of such tilings best predict the parts."""
    for part in parts:
        for block in split_box(part.region, block_shape(tilings, part.region.shape_zyx)):
            yield part, block


def confusion_on(
    parts: Sequence[Part], predictor: Predictor, look_up: Callable[[], None] = lambda: None
) -> Confusion:
    """Return the voxels of each true class that `predictor` takes for each class, shape (K, K).

    No more than a window is in memory at a time. `look_up` is called after each; what it raises
    ends the prediction.
    """
    counts_KK = np.zeros((predictor.classes, predictor.classes), np.int64)
    for part in parts:
        for box, probability_KZYX in predictor.pieces(part.reader, part.volume_zyx, part.region):
            predicted_ZYX = most_probable(probability_KZYX).cpu().numpy()
            truth_ZYX = part.truth(box)
            counts_KK += confusion(predicted_ZYX, truth_ZYX, predictor.classes)
            look_up()
    return counts_KK


@dataclass(frozen=True, kw_only=True, slots=True)
class Ballot:
    """A committee by its members."""

    weights: Mapping[int, float]
    """Of each member, by its key among predictors."""
    is_majority: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What committees and their members say of a block."""

    probabilities: dict[str, NDArray[np.float32]]
    """By committee, probability_KZYX."""
    votes: dict[int, NDArray[np.uint8]]
    """By member, labels_ZYX."""

    def labels(self, name: str) -> NDArray[np.uint8]:
        """Return the labels_ZYX of a committee."""
        return _labels(self.probabilities[name])


def judge_blocks(
    parts: Sequence[Part],
    predictors: Mapping[int, Predictor],
    ballots: Mapping[str, Ballot],
    first: int = 0,
    look_up: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Part, Box, NDArray[np.int16], Verdict]]:
    """Yield the blocks of a split with their truth_ZYX and what each committee says of them.

    Each network predicts a block once, for all committees that it belongs to. Those before the
    `first` are left out. `look_up` is called network by network; what it raises ends this.
    """
    blocks = blocks_of(parts, [predictor.tiling for predictor in predictors.values()])
    for part, block in islice(blocks, first, None):
        yield part, block, part.truth(block), judge(part, block, predictors, ballots, look_up)


def judge(
    part: Part,
    block: Box,
    predictors: Mapping[int, Predictor],
    ballots: Mapping[str, Ballot],
    look_up: Callable[[], None] = lambda: None,
) -> Verdict:
    """Return what committees and their members say of a block.

    `look_up` is called before each member predicts; what it raises ends this.
    """
    sums: dict[str, NDArray[np.float32]] = {}
    votes: dict[int, NDArray[np.uint8]] = {}
    for key, predictor in predictors.items():
        concerned = {name: ballot for name, ballot in ballots.items() if ballot.weights.get(key)}
        if not concerned:
            continue
        look_up()
        probability_KZYX = predictor.probability(part.reader, part.volume_zyx, block)
        votes[key] = _labels(probability_KZYX)
        for name, ballot in concerned.items():
            said_KZYX = _vote(probability_KZYX) if ballot.is_majority else probability_KZYX
            weighted_KZYX = np.float32(ballot.weights[key]) * said_KZYX
            sums[name] = sums[name] + weighted_KZYX if name in sums else weighted_KZYX
    return Verdict(probabilities=sums, votes=votes)


def _labels(probability_KZYX: NDArray[np.float32]) -> NDArray[np.uint8]:
    labels_ZYX: NDArray[np.uint8] = most_probable(torch.from_numpy(probability_KZYX)).numpy()
    return labels_ZYX


def _vote(probability_KZYX: NDArray[np.float32]) -> NDArray[np.float32]:
    vote_KZYX: NDArray[np.float32] = vote_of(torch.from_numpy(probability_KZYX)).numpy()
    return vote_KZYX
