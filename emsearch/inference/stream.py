"""Segment a volume of any size, block by block, into OME-Zarr.

A block is whole or absent: its chunks are, each a file that is moved into place. So a run that was
killed goes on with the blocks that lack a chunk. No labels that are written are 255, the fill
value, so that what was never written shows.

Axes: Z Y X voxels in array order.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray

from emsearch.errors import SpecError, StateError
from emsearch.inference.box import Box, Shape, split_box
from emsearch.inference.ensemble import CARD, Ensemble, load_ensemble
from emsearch.inference.pyramid import FILL, create_pyramid, shrink
from emsearch.inference.source import Source, open_source

__all__ = ["segment"]

_WRITTEN: Shape = (16, 1024, 1024)
"""Least voxels that are written at once; prediction goes on in smaller blocks inside."""

Progress = Callable[[int, int], None]


def segment(
    ensemble: Path, volume: Path, out: Path, progress: Progress, device: str = "auto"
) -> None:
    """Write the labels that the ensemble in a folder gives a volume to `out`, an OME-Zarr 0.5.

    `progress` is told blocks done and blocks in all. Memory is bounded by a block, whatever the
    volume's size. Raises NotFoundError and SpecError for input that cannot be used, and StateError
    that names the block where reading or writing fails; run again, it goes on with that block.
    """
    members = load_ensemble(ensemble, device)
    source = open_source(volume)
    work = _Work.begin(members, source, out, _fingerprint(ensemble, source))
    blocks = list(work.blocks())
    for number, block in enumerate(blocks):
        progress(number, len(blocks))
        if not work.has(block):
            work.carry_out(block)
    progress(len(blocks), len(blocks))
    work.finish()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """A segmentation that is being written."""

    ensemble: Ensemble
    source: Source
    levels: list[Any]
    """Zarr arrays of labels_ZYX, each of about half the resolution of the one before."""
    group: Any
    out: Path

    @classmethod
    def begin(cls, ensemble: Ensemble, source: Source, out: Path, mark: dict[str, Any]) -> "_Work":
        """Return the work at `out`, begun or gone on with."""
        if out.exists() and any(out.iterdir()):
            group = _reopen(out, mark)
        else:
            group = _create(ensemble, source, out, mark)
        levels = [group[name] for name in sorted(group.array_keys(), key=int)]
        return cls(ensemble=ensemble, source=source, levels=levels, group=group, out=out)

    def blocks(self) -> Iterator[Box]:
        """Yield the blocks that are written, multiples of the chunks."""
        least = self.ensemble.committee.block_zyx(self.source.shape)
        chunk = self.levels[0].chunks
        z, y, x = (
            -(-max(low, here) // step) * step
            for low, here, step in zip(_WRITTEN, least, chunk, strict=True)
        )
        return split_box(Box.whole(self.source.shape), (z, y, x))

    def has(self, block: Box) -> bool:
        """Return whether every chunk of a block is there."""
        folder = self.out / "0" / "c"
        chunk = self.levels[0].chunks
        places = [
            range(start // size, -(-stop // size))
            for start, stop, size in zip(block.start_zyx, block.stop_zyx, chunk, strict=True)
        ]
        return all(
            (folder / str(z) / str(y) / str(x)).is_file()
            for z in places[0]
            for y in places[1]
            for x in places[2]
        )

    def carry_out(self, block: Box) -> None:
        """Predict a block and write it."""
        try:
            labels_ZYX = self._predict(block)
            self.levels[0][block.slices()] = labels_ZYX
        except (OSError, ValueError, RuntimeError) as error:
            raise StateError(
                f"block z, y, x {block.start_zyx} to {block.stop_zyx} failed: {error}; "
                "mend what is wrong and run again: the blocks before it are kept"
            ) from error

    def finish(self) -> None:
        """Make the lower resolutions and verify that no voxel was left out."""
        for block in self.blocks():
            if bool((self.levels[0][block.slices()] == FILL).any()):
                raise StateError(
                    f"block z, y, x {block.start_zyx} to {block.stop_zyx} of {self.out} has voxels "
                    "without a label; remove the folder and segment again"
                )
        for finer, coarser in zip(self.levels, self.levels[1:], strict=False):
            shrink(finer, coarser)
        self.group.attrs["emsearch"] = {**self.group.attrs["emsearch"], "complete": True}

    def _predict(self, block: Box) -> NDArray[np.uint8]:
        committee = self.ensemble.committee
        read = self.ensemble.reader(self.source)
        labels_ZYX = np.empty(block.shape_zyx, np.uint8)
        for part in split_box(block, committee.block_zyx(self.source.shape)):
            probability_KZYX = committee.probability(read, self.source.shape, part)
            labels_ZYX[part.slices(block.start_zyx)] = probability_KZYX.argmax(0)
        return labels_ZYX


def _create(ensemble: Ensemble, source: Source, out: Path, mark: dict[str, Any]) -> Any:
    """Make the folder whole or not at all, and return its group."""
    scratch = out.with_name(f".{out.name}.{uuid4().hex}")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        voxel_nm = source.voxel_nm or ensemble.card.voxel_nm
        group = create_pyramid(scratch, source.shape, voxel_nm, ensemble.classes)
        group.attrs["emsearch"] = mark
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return zarr.open_group(out, mode="r+")


def _reopen(out: Path, mark: dict[str, Any]) -> Any:
    """Return the group of a segmentation that was begun. Raises SpecError where it is another."""
    try:
        group: Any = zarr.open_group(out, mode="r+")
        found = dict(group.attrs["emsearch"])
    except (FileNotFoundError, KeyError) as error:
        raise SpecError(
            f"{out} exists and is no segmentation that was begun; choose another name"
        ) from error
    if {**found, "complete": False} != mark:
        raise SpecError(f"{out} holds a segmentation of another volume or by another ensemble")
    return group


def _fingerprint(ensemble: Path, source: Source) -> dict[str, Any]:
    """Return what must be equal for a run to go on with another's blocks."""
    card = sha256((ensemble / CARD).read_bytes()).hexdigest()
    return {"ensemble": card, "shape_zyx": list(source.shape), "complete": False}
