"""Ask every trial of a pool about the same validation voxels, once; the answers are kept.

Axes: M trial of the pool, K class, N voxel, Z Y X voxels in array order.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray

from emsearch.ensembles.pool import FOLDS, Pool
from emsearch.errors import SpecError
from emsearch.inference.box import Box
from emsearch.inference.cells import Cell, cells_of
from emsearch.inference.part import Part
from emsearch.inference.predict import Predictor
from emsearch.inference.score import blocks_of
from emsearch.inference.tiles import Tiling
from emsearch.records.chance import seed_of

__all__ = ["Asked", "Sample", "draw_sample", "largest_sample", "poll"]

_LARGEST = 2_000_000  # voxels that trials are asked about, at most
_POOL_BYTES = 3_000_000_000  # of the answers of all trials together
_CHUNK = 1 << 18  # voxels


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A trial that is asked."""

    name: str
    """Of the file that its answer is kept in."""
    digest: str
    """Of its weights: an answer of others does not count."""
    load: Callable[[], Predictor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Which voxels of the validation split trials are asked about."""

    blocks: tuple[tuple[Part, Box, NDArray[np.int64]], ...]
    """Where to predict, and which voxels of the block count, by their flat index."""
    rank_N: NDArray[np.int64]
    """Place in a pool of each voxel, in the blocks' order."""
    true_N: NDArray[np.uint8]
    """In a pool's order, as is all that follows."""
    fold_N: NDArray[np.uint8]
    """Which of the folds of cross-validation each voxel belongs to."""
    stands_for_K: NDArray[np.float64]

    @property
    def digest(self) -> str:
        """Digest of which voxels they are."""
        content = sha256(self.rank_N.tobytes() + self.true_N.tobytes())
        for part, block, place in self.blocks:
            content.update(f"{part.volume.record} {block}".encode() + place.tobytes())
        return content.hexdigest()


def largest_sample(members: int, classes: int) -> int:
    """Return how many voxels to ask so many trials about: their answers are held in memory."""
    return min(_LARGEST, _POOL_BYTES // (members * classes))


def draw_sample(
    parts: Sequence[Part], classes: int, tilings: Sequence[Tiling], largest: int = _LARGEST
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
    cells, numbers = cells_of(parts), dict[Cell, int]()
    for part, block in blocks_of(parts, tilings):
        truth = part.truth(block).reshape(-1)
        place = np.flatnonzero(truth >= 0)
        place = place[rng.random(len(place)) < rate_K[truth[place]]]
        blocks.append((part, block, place))
        true.append(truth[place].astype(np.uint8))
        fold_ZYX = np.zeros(block.shape_zyx, np.uint8)
        for cell, box in cells.cut(part, block):
            number = numbers.setdefault(cell, len(numbers))
            fold_ZYX[box.slices(block.start_zyx)] = number % FOLDS
        folds.append(fold_ZYX.reshape(-1)[place])
    true_N, fold_N = np.concatenate(true), np.concatenate(folds)
    order = np.lexsort((true_N, fold_N))
    rank_N = np.empty(len(order), np.int64)
    rank_N[order] = np.arange(len(order))
    drawn_K = np.bincount(true_N, minlength=classes)
    return Sample(
        blocks=tuple(blocks),
        rank_N=rank_N,
        true_N=true_N[order],
        fold_N=fold_N[order],
        stands_for_K=voxels_K / np.maximum(drawn_K, 1),
    )


def poll(
    sample: Sample,
    asked: Sequence[Asked],
    folder: Path,
    tell: Callable[[int], None],
    look_up: Callable[[], None] = lambda: None,
) -> Pool:
    """Return what the networks say about the sample; answers are kept in `folder`, compressed.

    One that is there already, of the same weights about the same voxels, is not asked for again. A
    network is loaded when its turn comes and dropped then. `tell` is told how many have answered;
    `look_up` is called block by block, and what it raises ends the poll.
    """
    shape = (len(asked), len(sample.stands_for_K), len(sample.true_N))
    probability_MKN = np.empty(shape, np.uint8)
    about = sample.digest
    for place, one in enumerate(asked):
        path = folder / f"{one.name}.zarr"
        mark = {"weights": one.digest, "sample": about}
        answer_KN = _kept(path, mark)
        if answer_KN is None:
            answer_KN = _ask(sample, one.load(), look_up)
            _keep(path, answer_KN, mark)
        probability_MKN[place] = answer_KN
        tell(place + 1)
    return Pool(
        probability_MKN=probability_MKN,
        true_N=sample.true_N,
        fold_N=sample.fold_N,
        stands_for_K=sample.stands_for_K,
    )


def _kept(path: Path, mark: dict[str, str]) -> NDArray[np.uint8] | None:
    """Return the answer that is kept at `path`, None where there is none or another."""
    if not path.is_dir():
        return None
    try:
        found: Any = zarr.open_array(path, mode="r")
        return np.asarray(found[:]) if dict(found.attrs) == mark else None
    except (OSError, ValueError, RuntimeError):
        return None  # a host died while it was written: it is asked for again


def _keep(path: Path, answer_KN: NDArray[np.uint8], mark: dict[str, str]) -> None:
    """Write an answer, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        array = zarr.create_array(
            scratch,
            shape=answer_KN.shape,
            chunks=(1, min(_CHUNK, answer_KN.shape[1])),
            dtype=np.uint8,
            attributes={**mark},
        )
        array[:] = answer_KN
        shutil.rmtree(path, ignore_errors=True)
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _ask(sample: Sample, predictor: Predictor, look_up: Callable[[], None]) -> NDArray[np.uint8]:
    """Return the probability_KN of the sample's voxels in 255ths."""
    answer_KN = np.empty((predictor.classes, len(sample.true_N)), np.uint8)
    first = 0
    for part, block, place in sample.blocks:
        look_up()
        probability_KZYX = predictor.probability(part.reader, part.volume_zyx, block)
        chosen_KN = probability_KZYX.reshape(predictor.classes, -1)[:, place]
        rank_N = sample.rank_N[first : first + len(place)]
        answer_KN[:, rank_N] = np.rint(255 * chosen_KN)
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
