"""Which trained trials make the best ensemble, chosen on validation voxels.

Axes: M trial of the pool, K class, N voxel.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError

__all__ = ["FOLDS", "Choice", "Pool", "best_single", "select"]

FOLDS = 4
"""Of cross-validation; each is a quarter of the cells of the validation split."""

Path = Callable[["Pool", int, Sequence[int]], list[int]]
"""From a pool, a size and the folds to look at, to the members in the order in which they join."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An ensemble: members of the pool and what each one's vote weighs."""

    method: str
    """single, top_k or greedy."""
    weights: tuple[tuple[int, float], ...]
    """Place in the pool and weight; weights are above 0 and sum to 1."""
    mean_iou: float
    """On the pool's voxels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """What each trial says about the same validation voxels."""

    probability_MKN: NDArray[np.uint8]
    """Class probabilities in 255ths."""
    true_N: NDArray[np.uint8]
    """Classes; ignored voxels are not among them."""
    fold_N: NDArray[np.uint8]
    """Which fold of cross-validation each voxel belongs to."""
    stands_for_K: NDArray[np.float64]
    """How many voxels of the split a voxel of each true class stands for."""

    def __post_init__(self) -> None:
        members, _, voxels = self.probability_MKN.shape
        if members == 0 or voxels == 0 or voxels != len(self.true_N):
            raise SpecError(
                f"a pool needs trials and voxels with a label, got {members} trials, {voxels} "
                f"predicted and {len(self.true_N)} labelled voxels"
            )

    @property
    def folds(self) -> list[int]:
        """The folds that hold a voxel."""
        return [fold for fold in range(FOLDS) if (self.fold_N == fold).any()]

    def sums(self, members: Sequence[int]) -> NDArray[np.uint16]:
        """Return the sum_KN of the members' probabilities; a member may be there repeatedly."""
        total_KN = np.zeros(self.probability_MKN.shape[1:], np.uint16)
        for member in members:
            total_KN += self.probability_MKN[member]
        return total_KN

    def confusions(self, sum_KN: NDArray[np.uint16]) -> NDArray[np.float64]:
        """Return the confusion of the most probable classes in each fold, shape (FOLDS, K, K)."""
        classes = len(sum_KN)
        place_N = (self.fold_N.astype(np.int32) * classes + self.true_N) * classes
        place_N += _argmax(sum_KN)
        counts = np.bincount(place_N, minlength=FOLDS * classes**2)
        return counts.reshape(FOLDS, classes, classes) * self.stands_for_K[:, None]

    def mean_iou(self, sum_KN: NDArray[np.uint16]) -> float:
        """Return the mean IoU of the most probable classes over all folds."""
        return mean_iou(self.confusions(sum_KN).sum(0))


def mean_iou(voxels_KK: NDArray[Any]) -> float:
    """Return the mean IoU of a confusion; a class that is nowhere is left out."""
    shared_K = voxels_KK.diagonal()
    either_K = voxels_KK.sum(0) + voxels_KK.sum(1) - shared_K
    return float((shared_K[either_K > 0] / either_K[either_K > 0]).mean())


def best_single(pool: Pool) -> Choice:
    """Return the best trial by itself."""
    return _choice("single", pool, _top_k(pool, 1, pool.folds))


def select(pool: Pool, size: int) -> Choice:
    """Return the ensemble of at most `size` votes that helps most on voxels it was not chosen on.

    Method and size are decided by cross-validation over the folds: chosen on the others, scored on
    the one left out. Greedy adds the trial that helps most, which may be one that is in already
    (Caruana et al., ICML 2004); top-k adds the next best one (the group's way). Where no ensemble
    beats the best single trial there, or on all voxels, that one is returned. Raises SpecError for
    a size below 1 or above 257, where sums of votes would overflow.
    """
    if not 1 <= size <= 257:
        raise SpecError(f"an ensemble's size must be 1 to 257, got {size}")
    single = best_single(pool)
    scores = {(1, "top_k"): single.mean_iou}
    if len(pool.folds) > 1:
        scores = _cross_validate(pool, size)
    count, method = max(scores, key=lambda key: (scores[key], -key[0]))
    if count == 1:
        return single
    chosen = _choice(method, pool, METHODS[method](pool, size, pool.folds)[:count])
    return chosen if chosen.mean_iou > single.mean_iou else single


def _cross_validate(pool: Pool, size: int) -> dict[tuple[int, str], float]:
    """Return the mean IoU, on voxels left out, of ensembles of each size by each method."""
    scores: dict[tuple[int, str], float] = {}
    for method, path in METHODS.items():
        seen = np.zeros((size, len(pool.stands_for_K), len(pool.stands_for_K)))
        for fold in pool.folds:
            total_KN = pool.sums([])
            others = [other for other in pool.folds if other != fold]
            order = path(pool, size, others)
            for place, member in enumerate(order):
                total_KN += pool.probability_MKN[member]
                seen[place] += pool.confusions(total_KN)[fold]
        scores |= {
            (place + 1, method): mean_iou(seen[place]) for place in range(min(size, len(order)))
        }
    return scores


def _top_k(pool: Pool, size: int, folds: Sequence[int]) -> list[int]:
    """Return the best trials by themselves, best first."""
    scores = [
        mean_iou(pool.confusions(pool.sums([member]))[folds].sum(0))
        for member in range(len(pool.probability_MKN))
    ]
    return sorted(range(len(scores)), key=lambda member: (-scores[member], member))[:size]


def _greedy(pool: Pool, size: int, folds: Sequence[int]) -> list[int]:
    """Return trials in the order in which each helps most; one may come again."""
    picks: list[int] = []
    total_KN = pool.sums([])
    for _ in range(size):
        gains = [
            mean_iou(pool.confusions(total_KN + votes_KN)[folds].sum(0))
            for votes_KN in pool.probability_MKN
        ]
        picks.append(int(np.argmax(gains)))
        total_KN += pool.probability_MKN[picks[-1]]
    return picks


METHODS: dict[str, Path] = {"top_k": _top_k, "greedy": _greedy}


def _choice(method: str, pool: Pool, order: Sequence[int]) -> Choice:
    """Return the ensemble of these votes; of one member only, it is a single."""
    votes = Counter(order)
    return Choice(
        method=method if len(votes) > 1 else "single",
        weights=tuple((member, votes[member] / len(order)) for member in sorted(votes)),
        mean_iou=pool.mean_iou(pool.sums(order)),
    )


def _argmax(sum_KN: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the class of the largest sum, the first of equals; numpy's is slower over few rows."""
    best_N = sum_KN[0].copy()
    class_N = np.zeros(best_N.shape, np.uint8)
    for number, row_N in enumerate(sum_KN[1:], start=1):
        higher_N = row_N > best_N
        class_N[higher_N] = number
        np.maximum(best_N, row_N, out=best_N)
    return class_N
