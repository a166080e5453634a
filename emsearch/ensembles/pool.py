"""What many trials say about the same voxels, and what they would say together, counted fast.

Voxels lie in order of fold and true class, so that those of one fold and class are a run: counting
what is predicted for them is counting equal bytes. The most probable class is found as one maximum:
sums are shifted to make room for the class's number below them.

Axes: M trial of the pool, K class, N voxel, F fold.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError

__all__ = ["FOLDS", "HARD", "Count", "Pool", "Tallies", "iou_of", "mean_iou"]

FOLDS = 4
"""Of cross-validation; each is a quarter of the cells of the validation split."""
HARD = 245
"""What a vote is worth where trials vote, beside at most 9 for its probability, to break ties."""

_RUN = 1 << 16  # voxels counted at a time: they stay in the processor's cache

_VOTES_KEPT = 24  # members whose votes are held in memory
_PIECE = 1 << 12  # voxels in a row of an eighth of them

Run = tuple[int, int, slice]
"""Fold, true class, and where voxels that share both are."""
Count = NDArray[np.float64]
"""Voxels by fold, true class and predicted class, shape (F, K, K)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """What each trial says about the same validation voxels."""

    probability_MKN: NDArray[np.uint8]
    """Class probabilities in 255ths."""
    true_N: NDArray[np.uint8]
    """Classes; ignored voxels are not among them."""
    fold_N: NDArray[np.uint8]
    """Which fold of cross-validation each voxel belongs to; voxels are sorted by fold and class."""
    stands_for_K: NDArray[np.float64]
    """How many voxels of the split a voxel of each true class stands for."""

    def __post_init__(self) -> None:
        members, _, voxels = self.probability_MKN.shape
        if members == 0 or voxels == 0 or voxels != len(self.true_N):
            raise SpecError(
                f"a pool needs trials and voxels with a label, got {members} trials, {voxels} "
                f"predicted and {len(self.true_N)} labelled voxels"
            )

    @classmethod
    def sorted(
        cls,
        probability_MKN: NDArray[np.uint8],
        true_N: NDArray[np.uint8],
        fold_N: NDArray[np.uint8],
        stands_for_K: NDArray[np.float64],
    ) -> "Pool":
        """Return the pool of voxels in any order."""
        order = np.lexsort((true_N, fold_N))
        return cls(
            probability_MKN=probability_MKN[:, :, order],
            true_N=true_N[order],
            fold_N=fold_N[order],
            stands_for_K=stands_for_K,
        )

    @property
    def members(self) -> int:
        """How many trials there are."""
        return len(self.probability_MKN)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.probability_MKN.shape[1])

    @property
    def folds(self) -> list[int]:
        """The folds that hold a voxel."""
        return [int(fold) for fold in np.unique(self.fold_N)]

    def votes(self, member: int) -> NDArray[np.uint8]:
        """Return a member's vote_KN: `HARD` for its most probable class, and a little for all."""
        probability_KN = self.probability_MKN[member]
        vote_KN: NDArray[np.uint8] = probability_KN // 26
        np.put_along_axis(
            vote_KN,
            (first := probability_KN.argmax(0)[None]),
            np.take_along_axis(vote_KN, first, 0) + np.uint8(HARD),
            0,
        )
        return vote_KN

    def mean(self, members: Sequence[int]) -> NDArray[np.float32]:
        """Return the mean probability_KN of members; one may be there repeatedly."""
        sum_KN = np.zeros(self.probability_MKN.shape[1:], np.float32)
        for member in members:
            sum_KN += self.probability_MKN[member]
        sum_KN /= sum_KN.sum(0)
        return sum_KN

    def runs(self) -> Iterator[Run]:
        """Yield fold, true class and place of voxels that share both, not too many at once."""
        key_N = self.fold_N.astype(np.int32) * self.classes + self.true_N
        if (np.diff(key_N) < 0).any():
            raise SpecError("the voxels of a pool must be sorted by fold and class")
        keys, starts = np.unique(key_N, return_index=True)
        for key, first, end in zip(keys, starts, [*starts[1:], len(key_N)], strict=True):
            for start in range(int(first), int(end), _RUN):
                place = slice(start, min(start + _RUN, int(end)))
                yield int(key) // self.classes, int(key) % self.classes, place


class Tallies:
    """Counts what ensembles of a pool's members predict, each ensemble once."""

    def __init__(self, pool: Pool, size: int) -> None:
        self.pool = pool
        self._runs = list(pool.runs())
        self._some = list(_spread(self._runs))
        self._bits = max((pool.classes - 1).bit_length(), 1)
        self._type = np.dtype(np.uint16 if 255 * size << self._bits < 1 << 16 else np.uint32)
        self._known: dict[tuple[int, ...], Count] = {}
        self._glanced: dict[tuple[int, ...], Count] = {}
        self._votes = lru_cache(_VOTES_KEPT)(pool.votes)
        self._threads = ThreadPoolExecutor(_threads())

    def of(self, members: Sequence[int]) -> Count:
        """Return the count of the members' mean."""
        key = tuple(sorted(members))
        if key not in self._known:
            self._known[key] = self._count(
                self._sum(key[:-1]), self.pool.probability_MKN[key[-1]], self._runs
            )
        return self._known[key]

    def of_majority(self, members: Sequence[int]) -> Count:
        """Return the count of the members' majority."""
        key = (-1, *sorted(members))
        if key not in self._known:
            votes = [self._votes(member) for member in members]
            sum_KN = self._empty()
            for vote_KN in votes[:-1]:
                self._add(sum_KN, vote_KN)
            self._known[key] = self._count(sum_KN, votes[-1], self._runs)
        return self._known[key]

    def with_each(self, members: Sequence[int], others: Sequence[int]) -> list[Count]:
        """Return the counts of the members' mean with each of the others added."""
        return self._each(members, others, self._known, self._runs)

    def glance(self, members: Sequence[int]) -> list[Count]:
        """Return the same with each member of the pool, of an eighth of the voxels."""
        return self._each(members, range(self.pool.members), self._glanced, self._some)

    def _each(
        self,
        members: Sequence[int],
        others: Sequence[int],
        known: dict[tuple[int, ...], Count],
        runs: Sequence[Run],
    ) -> list[Count]:
        keys = {other: tuple(sorted((*members, other))) for other in others}
        if new := [other for other in others if keys[other] not in known]:
            sum_KN = self._sum(members)
            counts = self._threads.map(
                lambda other: self._count(sum_KN, self.pool.probability_MKN[other], runs), new
            )
            known |= {keys[other]: count for other, count in zip(new, counts, strict=True)}
        return [known[keys[other]] for other in others]

    def disagreements(self) -> NDArray[np.float64]:
        """Return the part of each fold's voxels on which two members differ, shape (F, M, M)."""
        pool = self.pool
        voxels_FMM = np.zeros((FOLDS, pool.members, pool.members))
        total_F = np.zeros(FOLDS)
        for fold, true, place in self._runs:
            weight = pool.stands_for_K[true]
            total_F[fold] += weight * (place.stop - place.start)
            label_MN = pool.probability_MKN[:, :, place].argmax(1).astype(np.uint8)
            for one, other in combinations(range(pool.members), 2):
                differing = weight * np.count_nonzero(label_MN[one] != label_MN[other])
                voxels_FMM[fold, one, other] += differing
        voxels_FMM += voxels_FMM.transpose(0, 2, 1)
        found: NDArray[np.float64] = voxels_FMM / np.maximum(total_F, 1)[:, None, None]
        return found

    def _empty(self) -> NDArray[Any]:
        """Return the shifted sums of nobody: the first of equal classes has the largest number."""
        classes, voxels = self.pool.probability_MKN.shape[1:]
        numbers_K1 = np.arange(classes - 1, -1, -1, dtype=self._type)[:, None]
        return np.repeat(numbers_K1, voxels, axis=1)

    def _sum(self, members: Sequence[int]) -> NDArray[Any]:
        sum_KN = self._empty()
        for member in members:
            self._add(sum_KN, self.pool.probability_MKN[member])
        return sum_KN

    def _add(self, sum_KN: NDArray[Any], said_KN: NDArray[np.uint8]) -> None:
        for _, _, place in self._runs:
            sum_KN[:, place] += np.left_shift(said_KN[:, place], self._bits, dtype=self._type)

    def _count(
        self, sum_KN: NDArray[Any], said_KN: NDArray[np.uint8], runs: Sequence[Run]
    ) -> Count:
        """Return the count of a sum with one more member, which is not kept."""
        classes = self.pool.classes
        counts_FKK = np.zeros((FOLDS, classes, classes))
        room = np.empty((classes, _RUN), self._type)
        shift, last = self._type.type(self._bits), self._type.type((1 << self._bits) - 1)
        for fold, true, place in runs:
            both_KN = room[:, : place.stop - place.start]
            np.copyto(both_KN, said_KN[:, place])
            both_KN <<= shift
            both_KN += sum_KN[:, place]
            number_N = (both_KN.max(0) & last).astype(np.uint8)
            counts_FKK[fold, true] += [
                np.count_nonzero(number_N == number) for number in range(classes - 1, -1, -1)
            ]
        counts_FKK *= self.pool.stands_for_K[:, None]
        return counts_FKK


def _spread(runs: Sequence[Run]) -> Iterator[Run]:
    """Yield an eighth of the voxels of each run, in short pieces all over it."""
    for fold, true, place in runs:
        length = place.stop - place.start
        parts = -(-length // (8 * _PIECE))
        for start in range(place.start, place.stop, -(-length // parts)):
            yield fold, true, slice(start, min(start + -(-length // (8 * parts)), place.stop))


def iou_of(voxels_KK: NDArray[Any]) -> NDArray[np.float64]:
    """Return the iou_K of confusions (..., K, K); nan for a class that is nowhere."""
    shared_K = np.diagonal(voxels_KK, axis1=-2, axis2=-1)
    either_K = voxels_KK.sum(-1) + voxels_KK.sum(-2) - shared_K
    found_K: NDArray[np.float64] = np.divide(
        shared_K, either_K, out=np.full(either_K.shape, np.nan), where=either_K > 0
    )
    return found_K


def mean_iou(voxels_KK: NDArray[Any]) -> float:
    """Return the mean IoU of a confusion; a class that is nowhere is left out."""
    return float(np.nanmean(iou_of(voxels_KK)))


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
