"""Which trained trials make the best ensemble, chosen on validation voxels.

Axes: M trial of the pool, K class, F fold.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emsearch.ensembles.pool import Count, Pool, Tallies, mean_iou
from emsearch.errors import SpecError

__all__ = ["METHODS", "Choice", "Combine", "best_single", "select"]

LARGEST = 64
"""Votes of an ensemble at most."""

_DIVERSITY = 0.1  # mean IoU that a disagreement on every voxel is worth to `diverse`

_SHORTLIST = 16  # trials that are counted on all voxels at each step, where there are many

Combine = Literal["mean", "majority"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An ensemble: members of the pool and what each one's vote weighs."""

    method: str
    """single, or one of `METHODS`."""
    combine: Combine
    weights: tuple[tuple[int, float], ...]
    """Place in the pool and weight; weights are above 0 and sum to 1."""
    mean_iou: float
    """On the pool's voxels."""
    left_out_iou: float
    """In cross-validation: on voxels that such an ensemble was not chosen on."""
    disagreement: float
    """Part of the voxels on which two members differ, the mean over pairs; 0 for a single one."""


def best_single(pool: Pool) -> Choice:
    """Return the best trial by itself."""
    bench = _Bench(pool, 1)
    return bench.choice("single", "mean", _top_k(bench, 1, pool.folds), np.nan)


def select(
    pool: Pool,
    size: int,
    methods: Sequence[str] = ("top_k", "greedy", "diverse"),
    combines: Sequence[Combine] = ("mean", "majority"),
) -> Choice:
    """Return the ensemble of at most `size` votes that helps most on voxels it was not chosen on.

    Method, size and way to combine are decided by cross-validation over the folds: chosen on the
    others, scored on the one left out. `top_k` adds the next best trial (the group's way). `greedy`
    adds the one that helps most, which may be one that is in already and then weighs more (Caruana
    et al., ICML 2004); `diverse` does so with a bonus for a trial that differs from those that are
    in. Where no ensemble beats the best single trial there, or on all voxels, that one is returned.
    Raises SpecError for a size below 1 or above 64.
    """
    if not 1 <= size <= LARGEST:
        raise SpecError(f"an ensemble's size must be 1 to {LARGEST}, got {size}")
    bench = _Bench(pool, size)
    single = bench.choice("single", "mean", _top_k(bench, 1, pool.folds), np.nan)
    if len(pool.folds) == 1:
        return single
    scores = _cross_validate(bench, size, methods, combines)
    count, method, combine = max(scores, key=lambda key: (scores[key], -key[0]))
    if count == 1:
        return single
    order = METHODS[method](bench, size, pool.folds)[:count]
    chosen = bench.choice(method, combine, order, scores[count, method, combine])
    return chosen if chosen.mean_iou > single.mean_iou else single


class _Bench:
    """A pool with what is known of its ensembles."""

    def __init__(self, pool: Pool, size: int) -> None:
        self.pool = pool
        self.tallies = Tallies(pool, size)
        self._differ: NDArray[np.float64] | None = None

    @property
    def differ_FMM(self) -> NDArray[np.float64]:
        """Part of each fold's voxels on which two members differ."""
        if self._differ is None:
            self._differ = self.tallies.disagreements()
        return self._differ

    def count(self, members: Sequence[int], combine: Combine) -> Count:
        """Return the count of members that are combined so."""
        return self.tallies.of(members) if combine == "mean" else self.tallies.of_majority(members)

    def choice(
        self, method: str, combine: Combine, order: Sequence[int], left_out_iou: float
    ) -> Choice:
        """Return the ensemble of these votes; of one member only, it is a single."""
        votes = Counter(order)
        pairs = list(combinations(votes, 2))
        differ = [self.differ_FMM[self.pool.folds, a, b].mean() for a, b in pairs]
        return Choice(
            method=method if len(votes) > 1 else "single",
            combine=combine if len(votes) > 1 else "mean",
            weights=tuple((member, votes[member] / len(order)) for member in sorted(votes)),
            mean_iou=mean_iou(self.count(order, combine).sum(0)),
            left_out_iou=left_out_iou,
            disagreement=float(np.mean(differ)) if differ else 0.0,
        )


def _cross_validate(
    bench: _Bench, size: int, methods: Sequence[str], combines: Sequence[Combine]
) -> dict[tuple[int, str, Combine], float]:
    """Return the mean IoU, on voxels left out, by number of votes, method and way to combine."""
    folds = bench.pool.folds
    scores: dict[tuple[int, str, Combine], float] = {}
    for method in methods:
        orders = {
            fold: METHODS[method](bench, size, [other for other in folds if other != fold])
            for fold in folds
        }
        for count in range(1, len(orders[folds[0]]) + 1):
            for combine in combines:
                seen = [bench.count(orders[fold][:count], combine)[fold] for fold in folds]
                scores[count, method, combine] = mean_iou(sum(seen))
    return scores


def _top_k(bench: _Bench, size: int, folds: Sequence[int]) -> list[int]:
    """Return the best trials by themselves, best first."""
    scores = [
        mean_iou(count[folds].sum(0))
        for count in bench.tallies.with_each((), range(bench.pool.members))
    ]
    return sorted(range(len(scores)), key=lambda member: (-scores[member], member))[:size]


def _greedy(bench: _Bench, size: int, folds: Sequence[int]) -> list[int]:
    """Return trials in the order in which each helps most; one may come again."""
    picks: list[int] = []
    for _ in range(size):
        picks.append(_best_next(bench, picks, folds, np.zeros(bench.pool.members)))
    return picks


def _diverse(bench: _Bench, size: int, folds: Sequence[int]) -> list[int]:
    """Return trials in the order in which each helps most, with a bonus for what differs."""
    differ_MM = bench.differ_FMM[list(folds)].mean(0)
    picks: list[int] = []
    for _ in range(size):
        bonus_M = _DIVERSITY * differ_MM[:, picks].mean(1) if picks else np.zeros(len(differ_MM))
        picks.append(_best_next(bench, picks, folds, bonus_M))
    return picks


def _best_next(
    bench: _Bench, picks: Sequence[int], folds: Sequence[int], bonus_M: NDArray[np.float64]
) -> int:
    """Return the trial whose mean with `picks` is best, a bonus of each added.

    Of very many trials all are looked at on an eighth of the voxels, and the best on all of them.
    """

    def best_of(counts: Sequence[Count], others: Sequence[int]) -> NDArray[np.int64]:
        gains = np.array([mean_iou(count[folds].sum(0)) for count in counts])
        order: NDArray[np.int64] = np.argsort(-(gains + bonus_M[others]), kind="stable")
        return np.asarray(others)[order]

    everyone = list(range(bench.pool.members))
    if picks and len(everyone) > 2 * _SHORTLIST:
        everyone = sorted(best_of(bench.tallies.glance(picks), everyone)[:_SHORTLIST].tolist())
    return int(best_of(bench.tallies.with_each(picks, everyone), everyone)[0])


Path = Callable[[_Bench, int, Sequence[int]], list[int]]
"""From a pool, a size and the folds to look at, to the members in the order in which they join."""

METHODS: dict[str, Path] = {"top_k": _top_k, "greedy": _greedy, "diverse": _diverse}
"""Ways to choose members."""
