"""What the sampler will draw from a study's volumes, before anything is imported."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.records.dataset import VolumeRecord
from emsearch.records.order import ImportOrder
from emsearch.records.spec import StudySpec
from emsearch.volumes.dataset import OpenVolume
from emsearch.volumes.formats import open_array
from emsearch.volumes.labels import LabelReading
from emsearch.volumes.plan import PatchPlan
from emsearch.volumes.realised import Drawn
from emsearch.volumes.stack import Stack, boxes_of

__all__ = ["forecast_sampling"]

_MEMORY_BYTES = 1 << 30


def forecast_sampling(spec: StudySpec, batches: int = 100) -> Drawn:
    """Return what the first batches of a training will hold; reads the training labels.

    The spec's paths are absolute. Raises SpecError where nothing is annotated for training, and
    what `open_array` raises.
    """
    orders = [ImportOrder.of(spec.dataset, section) for section in spec.dataset.volumes]
    volumes = [_labels_alone(order) for order in orders if order.train is not None]
    training = spec.training
    plan = PatchPlan(
        volumes,
        len(spec.dataset.classes),
        training.patch_zyx,
        training.batch_size,
        seed=spec.study.seed,
    )
    return plan.drawn(range(batches))


def _labels_alone(order: ImportOrder) -> OpenVolume:
    stack = open_array(Path(order.labels))
    lazy = _Classes(stack, LabelReading.of(order))
    small = int(np.prod(stack.shape_zyx)) <= _MEMORY_BYTES
    record = VolumeRecord(
        name=order.name,
        zarr="",
        shape_zyx=stack.shape_zyx,
        voxel_nm=order.voxel_nm,
        train=order.train,
    )
    labels = lazy.read(boxes_of(stack, *(order.train or (0, 0)))) if small else lazy
    return OpenVolume(record=record, image_ZYX=None, labels_ZYX=labels)


class _Classes:
    """A label volume on disk as an array of class numbers."""

    def __init__(self, stack: Stack, reading: LabelReading) -> None:
        self._stack, self._reading = stack, reading

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[np.uint8]:
        ends = zip(box, self._stack.shape_zyx, strict=True)
        z, y, x = (slice(*side.indices(size)[:2]) for side, size in ends)
        return self._reading.read(self._stack, (z, y, x))

    def read(self, boxes: Iterable[Any]) -> NDArray[np.uint8]:
        """Return the whole array in memory, with only some boxes of it read."""
        whole = np.zeros(self._stack.shape_zyx, np.uint8)
        for box in boxes:
            whole[box] = self[box]
        return whole
