"""Ask every trial of a pool about the same validation voxels, once.

Axes: M trial of the pool, K class, N voxel, Z Y X voxels in array order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emsearch.ensembles.select import FOLDS, Pool
from emsearch.errors import SpecError
from emsearch.inference.box import Box
from emsearch.inference.predict import Predictor
from emsearch.inference.score import Part, blocks_of, cells_of
from emsearch.inference.tiles import Tiling
from emsearch.records.chance import seed_of

__all__ = ["Sample", "draw_sample", "poll"]

LARGEST = 1 << 21
"""Voxels that trials are asked about; of more, a sample in which no class is rarer than need be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Which voxels of the validation split trials are asked about."""

    blocks: tuple[tuple[Part, Box, NDArray[np.int64]], ...]
    """Where to predict, and which voxels of the block count, by their flat index."""
    true_N: NDArray[np.uint8]
    fold_N: NDArray[np.uint8]
    """Which of the folds of cross-validation each voxel belongs to."""
    stands_for_K: NDArray[np.float64]


def draw_sample(
    parts: Sequence[Part], classes: int, tilings: Sequence[Tiling], largest: int = LARGEST
) -> Sample:
    """Return all labelled voxels of `parts`, or at most about `largest` of them.

    Of more, as many of each class are drawn as fit, so that the overlap of a rare class is known
    as well as that of a frequent one. Raises SpecError where no voxel is labelled.
    """
    voxels_K = np.zeros(classes, np.int64)
    for part, block in blocks_of(parts, tilings):
        truth = part.truth(block)
        voxels_K += np.bincount(truth[truth >= 0], minlength=classes)
    if not voxels_K.any():
        raise SpecError("no voxel of the validation slices is annotated; move the split")
    rate_K = _rates(voxels_K, largest)
    rng = np.random.default_rng(seed_of("ensemble sample"))
    blocks, true, folds = [], [], []
    cells = 0
    for part, block in blocks_of(parts, tilings):
        truth = part.truth(block).reshape(-1)
        place = np.flatnonzero(truth >= 0)
        place = place[rng.random(len(place)) < rate_K[truth[place]]]
        blocks.append((part, block, place))
        true.append(truth[place].astype(np.uint8))
        fold_ZYX = np.zeros(block.shape_zyx, np.uint8)
        for cell in cells_of(block):
            fold_ZYX[cell.slices(block.start_zyx)] = cells % FOLDS
            cells += 1
        folds.append(fold_ZYX.reshape(-1)[place])
    true_N = np.concatenate(true)
    drawn_K = np.bincount(true_N, minlength=classes)
    return Sample(
        blocks=tuple(blocks),
        true_N=true_N,
        fold_N=np.concatenate(folds),
        stands_for_K=voxels_K / np.maximum(drawn_K, 1),
    )


def poll(
    sample: Sample, load: Sequence[Callable[[], Predictor]], after: Callable[[int], None]
) -> Pool:
    """Return what the networks say about the sample.

    Each is loaded when its turn comes and dropped then; `after` is told how many have answered.
    """
    shape = (len(load), len(sample.stands_for_K), len(sample.true_N))
    probability_MKN = np.empty(shape, np.uint8)
    for place, open_network in enumerate(load):
        probability_MKN[place] = _ask(sample, open_network())
        after(place + 1)
    return Pool(
        probability_MKN=probability_MKN,
        true_N=sample.true_N,
        fold_N=sample.fold_N,
        stands_for_K=sample.stands_for_K,
    )


def _ask(sample: Sample, predictor: Predictor) -> NDArray[np.uint8]:
    """Return the probability_KN of the sample's voxels in 255ths."""
    answer_KN = np.empty((predictor.classes, len(sample.true_N)), np.uint8)
    first = 0
    for part, block, place in sample.blocks:
        probability_KZYX = predictor.probability(part.reader, part.volume_zyx, block)
        chosen_KN = probability_KZYX.reshape(predictor.classes, -1)[:, place]
        answer_KN[:, first : first + len(place)] = np.rint(255 * chosen_KN)
        first += len(place)
    return answer_KN


def _rates(voxels_K: NDArray[np.int64], largest: int) -> NDArray[np.float64]:
    """Return the part of each class's voxels to draw: a quota each, unused ones passed on."""
    if voxels_K.sum() <= largest:
        return np.ones(len(voxels_K))
    quota_K = np.zeros(len(voxels_K))
    left = float(largest)
    order = np.argsort(voxels_K)
    for turn, number in enumerate(order):
        quota_K[number] = min(float(voxels_K[number]), left / (len(order) - turn))
        left -= quota_K[number]
    return quota_K / np.maximum(voxels_K, 1)
