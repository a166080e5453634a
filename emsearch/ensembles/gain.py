"""How much better one segmentation is than another, and how sure that is.

Axes: C cell of a split, K class.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emsearch.ensembles.select import mean_iou
from emsearch.errors import SpecError
from emsearch.records.chance import seed_of

__all__ = ["Gain", "gain", "gains_over"]

_DRAWS = 1000
_TAIL = 5.0  # percent beyond either end of the interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """A difference of mean IoU over a whole split, with its 90 % interval."""

    difference: float
    low: float
    high: float


def gain(ours_CKK: NDArray[np.int64], theirs_CKK: NDArray[np.int64]) -> Gain:
    """Return how much higher our mean IoU is than theirs, from confusions in the same cells.

    The interval is a bootstrap over cells: a network is right or wrong in neighbouring voxels
    alike, so voxels are not drawn one by one. Raises SpecError where the cells differ.
    """
    if ours_CKK.shape != theirs_CKK.shape:
        raise SpecError(f"confusions of other cells: {ours_CKK.shape} and {theirs_CKK.shape}")
    rng = np.random.default_rng(seed_of("bootstrap"))
    drawn = rng.multinomial(len(ours_CKK), np.full(len(ours_CKK), 1 / len(ours_CKK)), _DRAWS)
    ours = np.tensordot(drawn, ours_CKK, axes=1)
    theirs = np.tensordot(drawn, theirs_CKK, axes=1)
    differences = [mean_iou(a) - mean_iou(b) for a, b in zip(ours, theirs, strict=True)]
    low, high = np.percentile(differences, (_TAIL, 100 - _TAIL))
    whole = mean_iou(ours_CKK.sum(0)) - mean_iou(theirs_CKK.sum(0))
    return Gain(difference=whole, low=float(low), high=float(high))


def gains_over(first: str, confusions: Mapping[str, NDArray[np.int64]]) -> dict[str, Gain]:
    """Return the gain of the segmentation called `first` over each of the others, by name."""
    return {
        name: gain(confusions[first], theirs)
        for name, theirs in confusions.items()
        if name != first
    }
