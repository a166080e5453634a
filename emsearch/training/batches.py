"""The batch of each step: drawn, augmented, on the device. It depends on seed and step alone.

Axes: B batch, C channel, Z Y X voxels in array order.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from emsearch.records.budget import Budget
from emsearch.records.chance import seed_of
from emsearch.records.order import TrainOrder
from emsearch.volumes.augment import augment
from emsearch.volumes.realised import Realised
from emsearch.volumes.sample import PatchSampler

__all__ = ["Batches", "open_batches"]

_Drawn = tuple[NDArray[Any], NDArray[Any]]


class Batches:
    """The batches of one trial; beside a GPU the next one is drawn while a step runs."""

    def __init__(
        self, sampler: PatchSampler, task: TrainOrder, device: torch.device, ahead: bool
    ) -> None:
        self.sampler = sampler
        self.recipe = task.recipe
        self.seed = task.seed
        self.last = task.horizon - 1 if task.budget == Budget.STEPS else None
        """Step whose batch is the last, where that is known."""
        self.device = device
        self.drawn = Realised(len(task.dataset.classes))
        """What was drawn up to now."""
        self._threads = ThreadPoolExecutor(1) if ahead else None
        self._next: tuple[int, Future[_Drawn]] | None = None

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return image_BCZYX and labels_BZYX of the step from `step` to `step` + 1."""
        image, labels = self._draw(step)
        self.drawn.add(labels)
        image_BCZYX = torch.from_numpy(image).to(self.device, non_blocking=True)
        labels_BZYX = torch.from_numpy(labels).to(self.device, non_blocking=True)
        seed = seed_of("augment", self.seed, step)
        recipe = self.recipe
        return augment(image_BCZYX, labels_BZYX, recipe.augmentation, seed, recipe.policy)

    def close(self) -> None:
        """Wait for the batch that is being drawn, and draw no more."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _draw(self, step: int) -> _Drawn:
        if self._threads is None:
            return self.sampler.batch(step)
        drawn = self._next[1] if self._next is not None and self._next[0] == step else None
        batch = drawn.result() if drawn is not None else self.sampler.batch(step)
        if self.last is None or step < self.last:
            self._next = (step + 1, self._threads.submit(self.sampler.batch, step + 1))
        return batch


@contextmanager
def open_batches(task: TrainOrder, study: Path, device: torch.device) -> Iterator[Batches]:
    """Yield the batches of the trial that `task` is about."""
    sampler = PatchSampler(
        task.dataset,
        study,
        task.recipe.patch_zyx,
        task.recipe.batch_size,
        seed_of("patches", task.seed),
    )
    batches = Batches(sampler, task, device, ahead=device.type == "cuda")
    try:
        yield batches
    finally:
        batches.close()
