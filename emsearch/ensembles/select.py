"""Which trained trials make the best ensemble, chosen on validation voxels.

Axes: M trial of the pool, K class, N voxel.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError

__all__ = ["Choice", "Pool", "best_single", "greedy", "select", "top_k"]


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
    stands_for_K: NDArray[np.float64]
    """How many voxels of the split a voxel of each true class stands for."""

    def __post_init__(self) -> None:
        members, _, voxels = self.probability_MKN.shape
        if members == 0 or voxels == 0 or voxels != len(self.true_N):
            raise SpecError(
                f"a pool needs trials and voxels with a label, got {members} trials, {voxels} "
                f"predicted and {len(self.true_N)} labelled voxels"
            )

    def sums(self, members: Sequence[int]) -> NDArray[np.uint16]:
        """Return the sum_KN of the members' probabilities; a member may be there repeatedly."""
        total_KN = np.zeros(self.probability_MKN.shape[1:], np.uint16)
        for member in members:
            total_KN += self.probability_MKN[member]
        return total_KN

    def mean_iou(self, sum_KN: NDArray[np.uint16]) -> float:
        """Return the mean IoU of the most probable classes; one that is nowhere is left out."""
        classes = len(sum_KN)
        pairs_N = self.true_N.astype(np.int32) * classes + _argmax(sum_KN)
        counts_KK = np.bincount(pairs_N, minlength=classes**2).reshape(classes, classes)
        voxels_KK = counts_KK * self.stands_for_K[:, None]
        shared_K = voxels_KK.diagonal()
        either_K = voxels_KK.sum(0) + voxels_KK.sum(1) - shared_K
        return float((shared_K[either_K > 0] / either_K[either_K > 0]).mean())


def best_single(pool: Pool) -> Choice:
    """Return the best trial by itself."""
    scores = _single_scores(pool)
    best = int(np.argmax(scores))
    return Choice(method="single", weights=((best, 1.0),), mean_iou=scores[best])


def top_k(pool: Pool, size: int) -> Choice:
    """Return the mean of the k best trials, for the best k of up to `size` (the group's way)."""
    scores = _single_scores(pool)
    order = sorted(range(len(scores)), key=lambda member: (-scores[member], member))[:size]
    return _best_prefix("top_k", pool, order)


def greedy(pool: Pool, size: int) -> Choice:
    """Return an ensemble grown one trial at a time, each the one that helps most.

    A trial may be taken again, which raises its weight (Caruana et al., ICML 2004). Of the
    ensembles on the way, up to `size` votes, it is the best one; the smaller one of equals.
    """
    picks: list[int] = []
    total_KN = pool.sums([])
    for _ in range(size):
        gains = [pool.mean_iou(total_KN + votes_KN) for votes_KN in pool.probability_MKN]
        picks.append(int(np.argmax(gains)))
        total_KN += pool.probability_MKN[picks[-1]]
    return _best_prefix("greedy", pool, picks)


def select(pool: Pool, size: int) -> Choice:
    """Return the better of `top_k` and `greedy`; the best single trial where neither beats it.

    Raises SpecError for a size below 1 or above 257, where sums of votes would overflow.
    """
    if not 1 <= size <= 257:
        raise SpecError(f"an ensemble's size must be 1 to 257, got {size}")
    single = best_single(pool)
    return max((single, top_k(pool, size), greedy(pool, size)), key=lambda choice: choice.mean_iou)


def _single_scores(pool: Pool) -> list[float]:
    members = range(len(pool.probability_MKN))
    return [pool.mean_iou(pool.sums([member])) for member in members]


def _best_prefix(method: str, pool: Pool, order: Sequence[int]) -> Choice:
    total_KN = pool.sums([])
    scores = []
    for member in order:
        total_KN += pool.probability_MKN[member]
        scores.append(pool.mean_iou(total_KN))
    count = int(np.argmax(scores)) + 1
    votes = Counter(order[:count])
    weights = tuple((member, votes[member] / count) for member in sorted(votes))
    return Choice(method=method, weights=weights, mean_iou=scores[count - 1])


def _argmax(sum_KN: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the class of the largest sum, the first of equals; numpy's is slower over few rows."""
    best_N = sum_KN[0].copy()
    class_N = np.zeros(best_N.shape, np.uint8)
    for number, row_N in enumerate(sum_KN[1:], start=1):
        higher_N = row_N > best_N
        class_N[higher_N] = number
        np.maximum(best_N, row_N, out=best_N)
    return class_N
