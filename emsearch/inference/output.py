"""A segmentation on disk: which blocks it is made of, which are there, and how it is finished.

A block is whole or absent: its chunks are, each a file that is moved into place. So a run that was
killed goes on with the blocks that lack a chunk. No label is 255, the fill value, so that what was
never written shows. Nothing here needs torch: a login node hands blocks out and finishes.

Axes: K class, Z Y X voxels in array order.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray

from emsearch.errors import SpecError, StateError
from emsearch.inference.box import Box, Shape, split_box
from emsearch.inference.card import CARD, Card, read_card
from emsearch.inference.pyramid import CHUNK, create_probabilities, create_pyramid, shrink
from emsearch.inference.resample import step_between
from emsearch.inference.source import Source, open_source
from emsearch.records.order import SegmentOrder

__all__ = ["TRIES", "Output", "begin", "name_block", "notes_on"]

TRIES = 2
"""How often blocks are written that turn out to be damaged when they are verified."""

WRITTEN: Shape = (16, 1024, 1024)
"""Voxels that are written at once; prediction goes on in smaller blocks inside."""
_CUBE: Shape = (128, 128, 128)
"""The same where networks see sections along three axes."""
_PROBABILITY_BYTES = 1 << 26  # of a block's probabilities, where they are written

Voxel = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A segmentation that is being written."""

    folder: Path
    group: Any
    levels: list[Any]
    """Zarr arrays of labels_ZYX, each of about half the resolution of the one before."""
    probability: Any
    """Zarr array of probability_KZYX in 255ths, None where it was not asked for."""
    classes: int
    blocks: tuple[Box, ...]
    """What is written at once, multiples of the chunks, in order."""

    def missing(self) -> list[int]:
        """Return the numbers of the blocks that lack a chunk."""
        return [number for number, block in enumerate(self.blocks) if not self.has(block)]

    def has(self, block: Box) -> bool:
        """Return whether every chunk of a block is there."""
        return all(path.is_file() for path in self._chunks(block))

    def _chunks(self, block: Box) -> Iterator[Path]:
        """Yield the files of a block."""
        sizes = self.levels[0].chunks
        places = [
            range(start // size, -(-stop // size))
            for start, stop, size in zip(block.start_zyx, block.stop_zyx, sizes, strict=True)
        ]
        folders = [self.folder / "0" / "c"]
        if self.probability is not None:
            by_class = self.folder / "probabilities" / "0" / "c"
            folders += [by_class / str(number) for number in range(self.classes)]
        for folder, (z, y, x) in product(folders, product(*places)):
            yield folder / str(z) / str(y) / str(x)

    def write(
        self, block: Box, labels_ZYX: NDArray[np.uint8], probability_KZYX: NDArray[np.uint8] | None
    ) -> None:
        """Write a block."""
        if probability_KZYX is not None:
            self.probability[:, *block.slices()] = probability_KZYX
        self.levels[0][block.slices()] = labels_ZYX

    def verify(self, look_up: Callable[[], None] = lambda: None) -> list[int]:
        """Read every block back and return the numbers of those that are damaged.

        They are taken back: they are missing now, and the output is not finished. `look_up` is
        called block by block; what it raises ends this. Raises StateError that names a block which
        the disk does not give: what is on a disk that fails for a while is not damaged.
        """
        damaged = []
        for number, block in enumerate(self.blocks):
            look_up()
            if not self._is_whole(block):
                damaged.append(number)
        if damaged:
            self.begin_anew()
        for number in damaged:
            self._remove(self.blocks[number])
        return damaged

    def finish(self, look_up: Callable[[], None] = lambda: None) -> None:
        """Make the lower resolutions of an output that is verified, and say that it is whole.

        `look_up` is called now and then; what it raises ends this, and the next starts anew. Raises
        StateError that names a block which is missing, or where they cannot be written.
        """
        if missing := self.missing():
            raise StateError(
                f"{name_block(self.blocks[missing[0]])} of {self.folder} is not written; segment "
                "again: it goes on"
            )
        try:
            for finer, coarser in pairwise(self.levels):
                shrink(finer, coarser, look_up)
        except (OSError, ValueError, RuntimeError) as error:
            raise StateError(
                f"the lower resolutions of {self.folder} cannot be made: {error}; mend what is "
                "wrong and run again: the blocks are kept"
            ) from error
        self._note(complete=True)

    def spoilt(self, number: int) -> StateError:
        """Return what to raise where a block is damaged although it was written anew."""
        return StateError(
            f"{name_block(self.blocks[number])} of {self.folder} cannot be read back as it was "
            "written, twice in a row; look after the disk and run again: it goes on"
        )

    def is_finished(self) -> bool:
        """Return whether it is said on disk to be whole."""
        group: Any = zarr.open_group(self.folder, mode="r")
        return bool(group.attrs["emsearch"]["complete"])

    def begin_anew(self) -> None:
        """Take back that it is finished, since blocks of it are to be written."""
        if self.is_finished():
            self._note(complete=False)

    def _note(self, *, complete: bool) -> None:
        self.group.attrs["emsearch"] = {**self.group.attrs["emsearch"], "complete": complete}

    def _is_whole(self, block: Box) -> bool:
        """Return whether a block can be read and is what `write` writes.

        Probabilities in 255ths sum to 255 but for their rounding; a class is read at a time. Raises
        StateError.
        """
        try:
            if not self.has(block) or self.levels[0][block.slices()].max() >= self.classes:
                return False
            if self.probability is None:
                return True
            sum_ZYX = np.zeros(block.shape_zyx, np.uint16)
            for number in range(self.classes):
                sum_ZYX += self.probability[number, *block.slices()]
        except (ValueError, RuntimeError):
            return False
        except OSError as error:
            raise StateError(
                f"{name_block(block)} of {self.folder} cannot be read: {error}; mend what is wrong "
                "and run again; if it stays so, remove the files of the block: it is written anew"
            ) from error
        rounding = self.classes / 2 + 1
        return bool(255 - rounding <= sum_ZYX.min() and sum_ZYX.max() <= 255 + rounding)

    def _remove(self, block: Box) -> None:
        try:
            for path in self._chunks(block):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(
                f"{name_block(block)} of {self.folder} is damaged and cannot be removed: {error}; "
                "remove the folder and segment again"
            ) from error


def begin(task: SegmentOrder) -> Output:
    """Return the output of a task, made or gone on with.

    Raises NotFoundError and SpecError for input that cannot be used, SpecError where the output is
    of another volume, ensemble or manner, and StateError where too little of the volume can be read
    to tell it from others.
    """
    card = read_card(Path(task.ensemble))
    source = open_source(Path(task.volume), allow_missing=task.allow_missing)
    folder = Path(task.out)
    mark = _mark(task, source)
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder} is a file; choose another name for the segmentation's folder")
    if folder.exists() and any(folder.iterdir()):
        group = _reopen(folder, mark)
    else:
        group = _create(card, source, task, mark)
    with _naming_remedy(folder):
        (multiscale,) = group.attrs["ome"]["multiscales"]
        levels = [group[one["path"]] for one in multiscale["datasets"]]
        probability = group["probabilities/0"] if task.probabilities else None
    return Output(
        folder=folder,
        group=group,
        levels=levels,
        probability=probability,
        classes=len(card.classes),
        blocks=tuple(split_box(Box.whole(source.shape), _written(card, source.shape, task))),
    )


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left of chunks; nobody may be writing."""
    for path in folder.rglob("*.partial"):
        path.unlink(missing_ok=True)


def notes_on(task: SegmentOrder) -> list[str]:
    """Return what a user should know before the volume is segmented."""
    card = read_card(Path(task.ensemble))
    source = open_source(Path(task.volume))
    found = task.voxel_nm or source.voxel_nm
    trained = _size(card.voxel_nm)
    notes = []
    if found is None:
        notes.append(
            f"{task.volume} says no voxel size: taken for {trained} nm, that of training; "
            "if it differs, say --voxel z,y,x"
        )
    elif step_between(found, card.voxel_nm) != (1, 1, 1):
        notes.append(
            f"voxels of {_size(found)} nm are resampled to the {trained} nm that the ensemble "
            "was trained on, and its probabilities back; expect worse labels than on volumes "
            "like those of training"
        )
    if source.dtype.kind == "f":
        notes.append(
            f"{task.volume} holds floats: where one is not finite (NaN or infinity), the mean grey "
            "value of training is segmented in its place"
        )
    return notes


def name_block(block: Box) -> str:
    """Return what errors call a block."""
    return f"block z, y, x {block.start_zyx} to {block.stop_zyx}"


def _written(card: Card, shape: Shape, task: SegmentOrder) -> Shape:
    """Return the shape of what is written at once: it depends on no device."""
    least = _CUBE if task.axes == "zyx" else WRITTEN
    chunk = [min(step, length) for step, length in zip(CHUNK, shape, strict=True)]
    deep = max((least[0], *(member.patch_zyx[0] for member in card.members)))
    wanted = (deep, *least[1:])
    z, y, x = (-(-size // step) * step for size, step in zip(wanted, chunk, strict=True))
    if task.probabilities:
        while z * y * x * len(card.classes) > _PROBABILITY_BYTES and y * x > chunk[1] * chunk[2]:
            y, x = (_halved(y, chunk[1]), x) if y >= x else (y, _halved(x, chunk[2]))
    return z, y, x


def _halved(size: int, step: int) -> int:
    return max(size // 2 // step, 1) * step


def _create(card: Card, source: Source, task: SegmentOrder, mark: dict[str, Any]) -> Any:
    """Make the folder whole or not at all, and return its group. Raises StateError."""
    out = Path(task.out)
    scratch = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        voxel_nm = task.voxel_nm or source.voxel_nm or card.voxel_nm
        group = create_pyramid(scratch, source.shape, voxel_nm, card.classes)
        if task.probabilities:
            create_probabilities(group, source.shape, voxel_nm, card.classes)
        group.attrs["emsearch"] = mark
        scratch.rename(out)
    except OSError as error:
        raise StateError(
            f"{out} cannot be made: {error}; mend what is wrong, or choose another place"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return zarr.open_group(out, mode="r+")


def _reopen(out: Path, mark: dict[str, Any]) -> Any:
    """Return the group of a segmentation that was begun. Raises SpecError where it is another."""
    with _naming_remedy(out):
        group: Any = zarr.open_group(out, mode="r+")
        found = dict(group.attrs["emsearch"])
    found["complete"] = False
    if found != mark:
        differing = ", ".join(key for key in mark if found.get(key) != mark[key])
        raise SpecError(
            f"{out} holds a segmentation of another volume or by another ensemble, or in another "
            f"manner (differing: {differing}); choose another name, or remove it to begin anew"
        )
    return group


@contextmanager
def _naming_remedy(out: Path) -> Iterator[None]:
    """Raise SpecError for what a folder causes that is no segmentation, or lacks a part of one.

    Of a disk that fails this says nothing: what is on it may be whole.
    """
    try:
        yield
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise SpecError(
            f"{out} exists and is no segmentation that can be gone on with ({error}); choose "
            "another name, or, where it is one that was damaged, remove the folder to begin anew"
        ) from error


def _mark(task: SegmentOrder, source: Source) -> dict[str, Any]:
    """Return what must be equal for a run to go on with another's blocks."""
    return {
        "ensemble": sha256((Path(task.ensemble) / CARD).read_bytes()).hexdigest(),
        "shape_zyx": list(source.shape),
        "image": source.digest(),
        "voxel_nm": list(task.voxel_nm or source.voxel_nm or ()),
        "probabilities": task.probabilities,
        "flips": task.flips,
        "axes": task.axes,
        "blend": task.blend,
        "complete": False,
    }


def _size(voxel_nm: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in voxel_nm)
