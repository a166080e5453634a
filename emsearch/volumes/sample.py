"""Training batches of a dataset, a function of (seed, step) alone.

Axes: B batch, C channel, Z Y X voxels.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.records.dataset import Dataset
from emsearch.records.score import Split
from emsearch.volumes.dataset import OpenVolume, open_volume
from emsearch.volumes.plan import PatchPlan

__all__ = ["PatchSampler"]

_MEMORY_BYTES = 2 << 30  # volumes together smaller than this are read to memory


class PatchSampler:
    """Reads the batches that a `PatchPlan` chooses from the training slices of a dataset."""

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
        volumes = _open_training(dataset, study)
        self.plan = PatchPlan(volumes, len(dataset.classes), patch_zyx, batch_size, seed)
        """What is drawn, and how much of each class that is."""

    @property
    def fractions_K(self) -> tuple[float, ...]:
        """Part of the annotated training voxels that each class takes."""
        return self.plan.fractions_K

    def batch(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Return the patches of a step: normalised grey values BCZYX, classes BZYX.

        Labels outside the training slices are `IGNORE`; the image there is the volume's own, and
        mirrored beyond the volume.
        """
        regions = self.plan.regions(step)
        image_BZYX = np.stack([volume.read_image(region) for volume, region in regions])
        labels_BZYX = np.stack([self.plan.labels(volume, region) for volume, region in regions])
        return image_BZYX[:, None], labels_BZYX


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
