"""Training patches: chosen so that rare classes are seen, and a function of (seed, step) alone.

Axes: B batch, C channel, Z Y X voxels.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.records.dataset import Dataset
from emsearch.records.score import Split
from emsearch.volumes.class_index import index_classes
from emsearch.volumes.dataset import IGNORE, OpenVolume, Region, open_volume

__all__ = ["PatchSampler"]

_MEMORY_BYTES = 2 << 30  # volumes together smaller than this are read to memory
RARE = 0.01
"""A class that takes a smaller part of the training labels gets patches of its own."""

Image = NDArray[np.float32]
Labels = NDArray[np.int64]


class PatchSampler:
    """Draws batches of patches from the training slices of a dataset.

    In a batch of B, B // 2 patches show one rare class each, in turn, where there are any (in one
    of an odd number chance decides about the odd one). The others show a class drawn evenly, or a
    voxel drawn evenly, as chance decides.
    """

    def __init__(
        self,
        dataset: Dataset,
        study: Path,
        patch_zyx: tuple[int, int, int],
        batch_size: int,
        seed: int,
    ) -> None:
        """Open the dataset's training volumes below `study` and index their classes.

        Raises SpecError where nothing is labelled for training.
        """
        self._patch_zyx, self._batch_size, self._seed = patch_zyx, batch_size, seed
        self._volumes = _open_training(dataset, study)
        self._index = index_classes(self._volumes, len(dataset.classes))
        fractions = self._index.fractions_K
        self._there = [number for number, part in enumerate(fractions) if part > 0]
        self._rare = [number for number in self._there if fractions[number] < RARE]

    @property
    def fractions_K(self) -> tuple[float, ...]:
        """Part of the annotated training voxels that each class takes."""
        return self._index.fractions_K

    def batch(self, step: int) -> tuple[Image, Labels]:
        """Return the patches of a step: normalised grey values BCZYX, classes BZYX.

        Labels outside the training slices are `IGNORE`; the image there is the volume's own, and
        mirrored beyond the volume.
        """
        rng = np.random.default_rng([self._seed, step])
        patches = [self._read(number, rng) for number in self._classes_to_show(step, rng)]
        image_BCZYX = np.stack([image for image, _ in patches])[:, None]
        return image_BCZYX, np.stack([labels for _, labels in patches])

    def _classes_to_show(self, step: int, rng: np.random.Generator) -> list[int]:
        """Return for each patch of the batch a class that is to be in it."""
        half = self._batch_size // 2 + (self._batch_size % 2 and rng.random() < 0.5)
        turns = range(step * half, step * half + half)
        wanted = [self._rare[turn % len(self._rare)] for turn in turns] if self._rare else []
        for _ in range(self._batch_size - len(wanted)):
            is_even = rng.random() < 0.5
            parts = None if is_even else [self._index.fractions_K[k] for k in self._there]
            wanted.append(int(rng.choice(self._there, p=parts)))
        return wanted

    def _read(self, number: int, rng: np.random.Generator) -> tuple[Image, Labels]:
        """Return a patch that shows a voxel of class `number`."""
        place, voxel_zyx = self._index.draw(number, rng)
        volume = self._volumes[place]
        region = self._around(voxel_zyx, volume, rng)
        labels = volume.read_labels(region)
        first, end = _training(volume)
        sections = np.arange(*region[0])
        labels[(sections < first) | (sections >= end)] = IGNORE
        return volume.read_image(region), labels

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


def _open_training(dataset: Dataset, study: Path) -> list[OpenVolume]:
    volumes = [
        open_volume(record, study)
        for record in dataset.volumes
        if record.slices(Split.TRAIN) is not None
    ]
    if not volumes:
        raise SpecError('no volume has training slices; give one, such as train = "0:14"')
    if sum(volume.nbytes for volume in volumes) <= _MEMORY_BYTES:
        return [volume.in_memory() for volume in volumes]
    return volumes


def _training(volume: OpenVolume) -> tuple[int, int]:
    return volume.record.slices(Split.TRAIN) or (0, 0)
