"""Segment a volume of any size, block by block, into OME-Zarr.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emsearch.errors import StateError
from emsearch.inference.ahead import ahead, behind
from emsearch.inference.box import Box, Shape, even_parts
from emsearch.inference.committee import tempered
from emsearch.inference.crew import HERE, Say, at_work
from emsearch.inference.ensemble import Ensemble, load_ensemble
from emsearch.inference.output import TRIES, Output, begin, name_block, sweep
from emsearch.inference.predict import most_probable
from emsearch.inference.resample import Regrid, Resampled, step_between
from emsearch.inference.source import Held, Source, open_source
from emsearch.inference.views import Manner
from emsearch.records.event import AskedToLeaveError, Outcome, Post, leave_if_asked
from emsearch.records.order import SegmentOrder
from emsearch.records.trial import Cause

__all__ = ["run_segment", "segment"]

Progress = Callable[[int, int], None]
LookUp = Callable[[], None]
Made = tuple[int, NDArray[np.uint8], NDArray[np.uint8] | None]
"""A block's number, its labels_ZYX, and its probability_KZYX in 255ths where it is asked for."""

_HELD_VX = 1 << 26  # of a block with its halo


def segment(task: SegmentOrder, progress: Progress, say: Say = lambda _words: None) -> None:
    """Write the labels that an ensemble gives a volume as an OME-Zarr 0.5.

    `progress` is told blocks done and blocks in all, `say` what a user should know. Memory is
    bounded by a block, whatever the volume's size, but that sections which are compressed as a
    whole are held as such. Raises NotFoundError and SpecError for input that cannot be used,
    StateError where others are at work on the output, and StateError that names the block where
    reading or writing fails; run again, it goes on with that block.
    """
    output = begin(task)
    with at_work(output.folder, HERE, say):
        sweep(output.folder)
        damaged: list[int] = []
        for _ in range(TRIES):
            _write_missing(task, output, progress)
            damaged = output.verify()
            if not damaged:
                output.finish()
                return
        raise output.spoilt(damaged[0])


def run_segment(task: SegmentOrder, post: Post) -> Outcome:
    """Write the blocks that a share of the work is; the rest is others'.

    An order that names no blocks is for all that are missing, and for the end: verifying, and lower
    resolutions; blocks that are damaged are taken back, for whoever shares the work out. Asked to
    leave, it does so amid a block, which is made anew by whoever goes on.
    """
    output = begin(task)
    look_up = partial(leave_if_asked, post)
    wanted = range(len(output.blocks)) if task.blocks is None else task.blocks
    missing = [number for number in wanted if not output.has(output.blocks[number])]
    is_verified = False
    try:
        if missing:
            writer = _Writer.of(task, output)
            for turn, _ in enumerate(writer.carry_out_each(missing, look_up)):
                post.progress(turn + 1, len(missing))
        if task.blocks is None and not output.verify(look_up):
            output.finish(look_up)
            is_verified = True
    except AskedToLeaveError as asked:
        return Outcome(cause=asked.cause)
    facts = {"blocks": len(missing), "verified": is_verified}
    return Outcome(cause=Cause.COMPLETED, facts=facts)


def _write_missing(task: SegmentOrder, output: Output, progress: Progress) -> None:
    """Write the blocks that are not there."""
    missing = output.missing()
    there = len(output.blocks) - len(missing)
    progress(there, len(output.blocks))
    if not missing:
        return
    output.begin_anew()
    writer = _Writer.of(task, output)
    for turn, _ in enumerate(writer.carry_out_each(missing, lambda: None)):
        progress(there + turn + 1, len(output.blocks))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Writer:
    """Predicts blocks and writes them."""

    ensemble: Ensemble
    source: Source
    regrid: Regrid
    """From the source's voxels to those that the ensemble was trained on."""
    output: Output

    @classmethod
    def of(cls, task: SegmentOrder, output: Output) -> "_Writer":
        manner = Manner(flips=task.flips, axes=task.axes)
        ensemble = load_ensemble(task.ensemble, task.device, manner, task.blend)
        source = open_source(Path(task.volume), allow_missing=task.allow_missing)
        trained = ensemble.card.voxel_nm
        found = task.voxel_nm or source.voxel_nm or trained
        regrid = Regrid(shape=source.shape, step=step_between(found, trained))
        return cls(ensemble=ensemble, source=source, regrid=regrid, output=output)

    def carry_out_each(self, numbers: Sequence[int], look_up: LookUp) -> Iterator[int]:
        """Write blocks and yield the number of each that is written.

        While one is predicted, the next is read and the one before is written. `look_up` is called
        now and then; what it raises ends the work, and what is predicted by then is written.
        """
        held = ahead((number, self._hold(self.output.blocks[number])) for number in numbers)
        return behind(self._write, (self._made(*one, look_up) for one in held))

    def _made(self, number: int, held: Held, look_up: LookUp) -> Made:
        block = self.output.blocks[number]
        with _naming(block):
            return number, *self._predict(block, held, look_up)

    def _write(self, made: Made) -> int:
        number, labels_ZYX, probability_KZYX = made
        block = self.output.blocks[number]
        with _naming(block):
            self.output.write(block, labels_ZYX, probability_KZYX)
        return number

    def _hold(self, block: Box) -> Held:
        """Return a block with its halo, in the source's voxels; without it where that is large.

        It is so along three axes with wide windows, and where voxels are of a very different size:
        what is asked for beyond the block is read when it is asked for.
        """
        needed = self.regrid.inverse().needs(block)
        reach = self.ensemble.committee.reach_zyx
        with_halo = needed.grown(reach).within(Box.whole(self.regrid.wanted_shape))
        boxes = (self.regrid.needs(with_halo), self.regrid.needs(needed))
        fitting = (box for box in boxes if prod(box.shape_zyx) <= _HELD_VX)
        with _naming(block):
            return Held(self.source, next(fitting, block))

    def _predict(
        self, block: Box, source: Held, look_up: LookUp
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        labels_ZYX = np.empty(block.shape_zyx, np.uint8)
        probability_KZYX = None
        if self.output.probability is not None:
            shape = (self.ensemble.committee.classes, *block.shape_zyx)
            probability_KZYX = np.empty(shape, np.uint8)
        for part in even_parts(block, self._part_zyx()):
            look_up()
            place = part.slices(block.start_zyx)
            if probability_KZYX is None and self.regrid.step == (1, 1, 1):
                read = self.ensemble.reader(source)
                labels_ZYX[place] = self.ensemble.committee.label(read, source.shape, part)
                continue
            found_KZYX = self._probability(part, source)
            labels_ZYX[place] = most_probable(found_KZYX).cpu().numpy()
            if probability_KZYX is not None:
                calibrated_KZYX = tempered(found_KZYX, self.ensemble.card.temperature)
                rounded_KZYX = calibrated_KZYX.mul(255).round_().to(torch.uint8)
                probability_KZYX[:, *place] = rounded_KZYX.cpu().numpy()
        return labels_ZYX, probability_KZYX

    def _probability(self, part: Box, source: Held) -> Tensor:
        committee = self.ensemble.committee
        if self.regrid.step == (1, 1, 1):
            return committee.predict(self.ensemble.reader(source), source.shape, part)
        image = Resampled(source, self.regrid)
        back = self.regrid.inverse()
        read = self.ensemble.reader(image)
        there_KZYX = committee.predict(read, image.shape, back.needs(part))
        return torch.from_numpy(back.apply(there_KZYX.cpu().numpy(), part))

    def _part_zyx(self) -> Shape:
        """Return the largest shape that is predicted at once, in the source's voxels.

        It is bounded in those that are predicted, too: a part needs voxels around it there.
        """
        size = self.ensemble.committee.block_zyx(self.regrid.wanted_shape)
        if self.regrid.step == (1, 1, 1):
            return size
        z, y, x = (max(int(n * step), 1) for n, step in zip(size, self.regrid.step, strict=True))
        return self.regrid.inverse().bounded((z, y, x), 2 * prod(size))


@contextmanager
def _naming(block: Box) -> Iterator[None]:
    """Name the block in what goes wrong."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise StateError(
            f"{name_block(block)} failed: {error}; mend what is wrong and run again: the "
            "blocks that are written are kept"
        ) from error
