"""Which patches a training step sees: so that rare classes are, and as (seed, step) alone say.

Axes: B batch, K class, Z Y X voxels.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from emsearch.records.score import Split
from emsearch.volumes.class_index import index_classes
from emsearch.volumes.dataset import IGNORE, OpenVolume, Region
from emsearch.volumes.realised import Drawn, Realised

__all__ = ["RARE", "PatchPlan"]

RARE = 0.01
"""A class that takes a smaller part of the training labels gets patches of its own."""

Labels = NDArray[np.int16]


class PatchPlan:
    """Chooses the patches of every batch from the training slices of some volumes.

    In a batch of B, B // 2 patches show one rare class each, in turn, where there are any (of an
    odd number chance decides about the odd one). The others show a class drawn evenly, or a voxel
    drawn evenly, as chance decides.
    """

    def __init__(
        self,
        volumes: Sequence[OpenVolume],
        classes: int,
        patch_zyx: tuple[int, int, int],
        batch_size: int,
        seed: int,
    ) -> None:
        """Index the classes of the volumes. Raises SpecError where nothing is annotated."""
        self.volumes, self._patch_zyx = volumes, patch_zyx
        self._batch_size, self._seed = batch_size, seed
        self._index = index_classes(volumes, classes)
        self._there = [number for number, part in enumerate(self.fractions_K) if part > 0]
        self.rare = tuple(number for number in self._there if self.fractions_K[number] < RARE)
        """Classes that get patches of their own."""

    @property
    def fractions_K(self) -> tuple[float, ...]:
        """Part of the annotated training voxels that each class takes."""
        return self._index.fractions_K

    def regions(self, step: int) -> list[tuple[OpenVolume, Region]]:
        """Return volume and region of each patch of a step."""
        rng = np.random.default_rng([self._seed, step])
        chosen = []
        for number in self._classes_to_show(step, rng):
            place, voxel_zyx = self._index.draw(number, rng)
            volume = self.volumes[place]
            chosen.append((volume, self._around(voxel_zyx, volume, rng)))
        return chosen

    def labels(self, volume: OpenVolume, region: Region) -> Labels:
        """Return the classes of a patch; `IGNORE` outside the training slices."""
        labels = volume.read_labels(region)
        first, end = _training(volume)
        sections = np.arange(*region[0])
        labels[(sections < first) | (sections >= end)] = IGNORE
        return labels

    def drawn(self, steps: Iterable[int]) -> Drawn:
        """Return what the batches of some steps hold, before augmentation."""
        realised = Realised(len(self.fractions_K))
        for step in steps:
            labels = [self.labels(volume, region) for volume, region in self.regions(step)]
            realised.add(np.concatenate([patch.reshape(-1) for patch in labels]))
        return realised.drawn()

    def _classes_to_show(self, step: int, rng: np.random.Generator) -> list[int]:
        """Return for each patch of the batch a class that is to be in it."""
        half = self._batch_size // 2 + (self._batch_size % 2 and rng.random() < 0.5)
        turns = range(step * half, step * half + half)
        wanted = [self.rare[turn % len(self.rare)] for turn in turns] if self.rare else []
        for _ in range(self._batch_size - len(wanted)):
            is_even = rng.random() < 0.5
            parts = None if is_even else [self.fractions_K[k] for k in self._there]
            wanted.append(int(rng.choice(self._there, p=parts)))
        return wanted

    def _around(
        self, voxel_zyx: tuple[int, int, int], volume: OpenVolume, rng: np.random.Generator
    ) -> Region:
        """Return a region that holds the voxel anywhere, inside the volume where it fits."""
        bounds = [_training(volume), *((0, n) for n in volume.record.shape_zyx[1:])]
        if bounds[0][1] - bounds[0][0] < self._patch_zyx[0]:
            bounds[0] = (0, volume.record.shape_zyx[0])
        ranges = []
        for voxel, size, (low, high) in zip(voxel_zyx, self._patch_zyx, bounds, strict=True):
            first = voxel - int(rng.integers(size))
            first = min(max(first, low), high - size) if high - low >= size else first
            ranges.append((first, first + size))
        return ranges[0], ranges[1], ranges[2]


def _training(volume: OpenVolume) -> tuple[int, int]:
    return volume.record.slices(Split.TRAIN) or (0, 0)
