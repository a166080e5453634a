"""How much better one segmentation is than another, and how sure that is.

Axes: C cell of a split, D draw of the bootstrap, K class.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emsearch.ensembles.pool import iou_of
from emsearch.errors import SpecError
from emsearch.records.chance import seed_of

__all__ = ["Gain", "Interval", "gain", "gains_over"]

_DRAWS = 1000
_TAIL = 5.0  # percent beyond either end of the interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A difference of overlaps over a whole split, with its 90 % interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """A difference of mean IoU over a whole split, with its 90 % interval; also class by class."""

    difference: float
    low: float
    high: float
    iou_K: tuple[Interval | None, ...]
    """None for a class that either of the two, or the truth with it, has nowhere."""


def gain(ours_CKK: NDArray[np.int64], theirs_CKK: NDArray[np.int64]) -> Gain:
    """Return how much higher our mean IoU is than theirs, from confusions in the same cells.

    The interval is a bootstrap over cells: a network is right or wrong in neighbouring voxels
    alike, so voxels are not drawn one by one. Raises SpecError where the cells differ.
    """
    if ours_CKK.shape != theirs_CKK.shape:
        raise SpecError(f"confusions of other cells: {ours_CKK.shape} and {theirs_CKK.shape}")
    rng = np.random.default_rng(seed_of("bootstrap"))
    drawn = rng.multinomial(len(ours_CKK), np.full(len(ours_CKK), 1 / len(ours_CKK)), _DRAWS)
    ours_DK, theirs_DK = (iou_of(np.tensordot(drawn, one, 1)) for one in (ours_CKK, theirs_CKK))
    ours_K, theirs_K = iou_of(ours_CKK.sum(0)), iou_of(theirs_CKK.sum(0))
    mean = _interval(np.nanmean(ours_DK, 1) - np.nanmean(theirs_DK, 1), _mean(ours_K, theirs_K))
    return Gain(
        difference=mean.difference,
        low=mean.low,
        high=mean.high,
        iou_K=tuple(
            None if np.isnan(difference) else _interval(difference_D, float(difference))
            for difference, difference_D in zip(
                ours_K - theirs_K, (ours_DK - theirs_DK).T, strict=True
            )
        ),
    )


def gains_over(first: str, confusions: Mapping[str, NDArray[np.int64]]) -> dict[str, Gain]:
    """Return the gain of the segmentation called `first` over each of the others, by name."""
    return {
        name: gain(confusions[first], theirs)
        for name, theirs in confusions.items()
        if name != first
    }


def _mean(ours_K: NDArray[np.float64], theirs_K: NDArray[np.float64]) -> float:
    return float(np.nanmean(ours_K) - np.nanmean(theirs_K))


def _interval(difference_D: NDArray[np.float64], difference: float) -> Interval:
    low, high = np.nanpercentile(difference_D, (_TAIL, 100 - _TAIL))
    return Interval(difference=difference, low=float(low), high=float(high))
