"""Where the voxels of each class are: an index to draw patch centres from.

Axes: K class, N voxels, D the three axes z, y, x.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.records.chance import seed_of
from emsearch.records.score import Split
from emsearch.volumes.dataset import OpenVolume
from emsearch.volumes.labels import IGNORED
from emsearch.volumes.stack import CHUNK

__all__ = ["ClassIndex", "index_classes"]

_EDGE = 8 * CHUNK  # rows and columns read at a time
_KEPT = 50_000  # voxels remembered of each class, spread evenly over all of them


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassIndex:
    """Some voxels of every class, each as likely as any other of its class."""

    voxels_K: tuple[NDArray[np.int32], ...]
    """For each class rows of volume, z, y, x; shape (N, 4)."""
    fractions_K: tuple[float, ...]
    """Part of the annotated training voxels that each class takes."""

    def draw(self, number: int, rng: np.random.Generator) -> tuple[int, tuple[int, int, int]]:
        """Return volume and place of a voxel of class `number`."""
        rows = self.voxels_K[number]
        volume, z, y, x = (int(value) for value in rows[rng.integers(len(rows))])
        return volume, (z, y, x)


def index_classes(volumes: Sequence[OpenVolume], classes: int) -> ClassIndex:
    """Return the index of the training slices; it depends on the labels alone.

    Reads the labels twice, a box at a time. Raises SpecError where none is annotated.
    """
    counts_K = np.zeros(classes, np.int64)
    for _, _, labels in _boxes(volumes):
        counts_K += np.bincount(labels.reshape(-1), minlength=IGNORED + 1)[:classes]
    if not counts_K.any():
        raise SpecError("no voxel of the training slices is annotated; move the split")
    rng = np.random.default_rng(seed_of("class index"))
    found: list[list[NDArray[np.int32]]] = [[] for _ in range(classes)]
    for volume, corner_D, labels in _boxes(volumes):
        for number in np.flatnonzero(counts_K):
            flat = np.flatnonzero(labels.reshape(-1) == number)
            share = min(1.0, _KEPT / counts_K[number])
            kept = flat[rng.random(len(flat)) < share]
            places_ND = np.stack(np.unravel_index(kept, labels.shape), axis=1) + corner_D
            rows = np.insert(places_ND, 0, volume, axis=1)
            found[number].append(rows.astype(np.int32))
    return ClassIndex(
        voxels_K=tuple(np.concatenate(rows) if rows else _NONE for rows in found),
        fractions_K=tuple((counts_K / counts_K.sum()).tolist()),
    )


_NONE = np.zeros((0, 4), np.int32)


def _boxes(
    volumes: Sequence[OpenVolume],
) -> Iterator[tuple[int, tuple[int, int, int], NDArray[Any]]]:
    """Yield number of the volume, first corner and labels of parts of the training slices."""
    for number, volume in enumerate(volumes):
        first, end = volume.record.slices(Split.TRAIN) or (0, 0)
        _, height, width = volume.record.shape_zyx
        starts = (
            range(first - first % CHUNK, end, CHUNK),
            range(0, height, _EDGE),
            range(0, width, _EDGE),
        )
        for z, y, x in product(*starts):
            sections = slice(max(z, first), min(z + CHUNK, end))
            labels = volume.labels_ZYX[sections, y : y + _EDGE, x : x + _EDGE]
            yield number, (sections.start, y, x), np.asarray(labels)
