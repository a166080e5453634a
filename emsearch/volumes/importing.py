"""From a user's files to OME-Zarr: streaming, whole or absent, going on where it was killed.

The volume grows slab by slab in a hidden folder beside its place; after each slab a small file says
how far it is. At the end one rename makes it a volume. Two attempts at once write the same bytes.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from emsearch.errors import SpecError, StateError
from emsearch.records.dataset import VolumeRecord
from emsearch.records.event import Outcome, Post
from emsearch.records.files import read_json, write_json
from emsearch.records.order import ImportOrder
from emsearch.records.trial import Cause
from emsearch.volumes.dataset import OpenVolume, open_volume
from emsearch.volumes.formats import open_array
from emsearch.volumes.labels import LabelReading
from emsearch.volumes.ome import IMAGE, LABELS, array_in, create_volume
from emsearch.volumes.spool import Spool
from emsearch.volumes.stack import CHUNK, Stack, boxes_of
from emsearch.volumes.tally import Tally

__all__ = ["import_volume", "run_import", "verify_volume"]

AfterSlab = Callable[[int, int], None]


def run_import(task: ImportOrder, post: Post) -> Outcome:
    """Carry an import order out; the volume goes to `volumes/NAME.zarr` of the study."""

    def after_slab(done: int, of: int) -> None:
        post.progress(done, of)
        cause = post.stop_cause()
        if cause is not None:
            raise _StoppedError(cause)

    out = post.study / "volumes" / f"{task.name}.zarr"
    try:
        record = import_volume(task, post.study, out, after_slab)
    except _StoppedError as stopped:
        return Outcome(cause=stopped.cause)
    return Outcome(cause=Cause.COMPLETED, facts={"volume": asdict(record)})


def import_volume(
    task: ImportOrder, study: Path, out: Path, after_slab: AfterSlab = lambda _done, _of: None
) -> VolumeRecord:
    """Write the task's image and labels as OME-Zarr to `out` and return the volume's record.

    Takes less than 500 MB of memory for a volume of any size. What is at `out` already is used
    again if it was made of the same files. `after_slab` is told the sections done and their number.
    Raises SpecError where the files do not fit, StateError where `out` was made of other files.
    """
    source = _source(task)
    if not out.exists():
        building = _Building(task, out, source)
        building.carry_on(after_slab)
        building.finish()
    facts = json.loads(json.dumps(zarr.open_group(out, mode="r").attrs.get("emsearch", {})))
    if facts.get("source") != source:
        raise StateError(f"{out} was made of other files; remove it to import {task.image} anew")
    return _record(task, out.relative_to(study).as_posix(), facts)


def verify_volume(record: VolumeRecord, study: Path) -> bool:
    """Return whether a volume's voxels are still those that were imported; reads all of them.

    Raises NotFoundError where the volume is gone.
    """
    volume = open_volume(record, study)
    depth = record.shape_zyx[0]
    digests = [
        _digest(volume, slice(first, min(first + CHUNK, depth))) for first in range(0, depth, CHUNK)
    ]
    return sha256("".join(digests).encode()).hexdigest() == record.checksum


class _StoppedError(Exception):
    """The worker is to leave; what was imported so far stays."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class _Building:
    """A volume that is being written, in its hidden folder."""

    def __init__(self, task: ImportOrder, out: Path, source: dict[str, Any]) -> None:
        self.out, self.source = out, source
        self.image, self.labels = open_array(Path(task.image)), open_array(Path(task.labels))
        self.reading = LabelReading.of(task)
        _check_pair(task, self.image, self.labels, self.reading)
        self.dtype = _stored_dtype(self.image.dtype)
        self.tally = Tally(self.image.shape_zyx[0], len(task.classes))
        self.digests: list[str] = []
        self.folder = out.with_name(f".{out.name}.partial")
        if not self._take_up():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            create_volume(
                self.folder / "zarr", self.image.shape_zyx, self.dtype, task.voxel_nm, task.classes
            )
            self._save()
        self.group = zarr.open_group(self.folder / "zarr", mode="r+")

    def carry_on(self, after_slab: AfterSlab) -> None:
        """Write the slabs that are missing."""
        depth = self.image.shape_zyx[0]
        for first in range(len(self.digests) * CHUNK, depth, CHUNK):
            end = min(first + CHUNK, depth)
            self.digests.append(self._write_slab(first, end))
            self._save()
            after_slab(end, depth)

    def finish(self) -> None:
        """Check that every chunk is there and put the volume in its place."""
        for name in (IMAGE, LABELS):
            array = array_in(self.group, name)
            if array.nchunks_initialized != array.nchunks:
                shutil.rmtree(self.folder)
                raise StateError(f"chunks of {self.out} are missing on disk; import it again")
        checksum = sha256("".join(self.digests).encode()).hexdigest()
        sections = self.tally.to_dict(0, self.image.shape_zyx[0])
        self.group.attrs["emsearch"] = {
            "source": self.source,
            "checksum": checksum,
            "shape_zyx": list(self.image.shape_zyx),
            "sections": sections,
        }
        try:
            (self.folder / "zarr").rename(self.out)
        except OSError:
            if not self.out.exists():  # else another attempt was quicker
                raise
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_slab(self, first: int, end: int) -> str:
        shape = (end - first, *self.image.shape_zyx[1:])
        image = Spool(self.folder / "image.spool", shape, self.dtype)
        labels = Spool(self.folder / "labels.spool", shape, np.dtype(np.uint8))
        try:
            for box in boxes_of(self.image, first, end):
                grey = self.image.read_box(box).astype(self.dtype, copy=False)
                classes = self.reading.read(self.labels, box)
                self.tally.add(box, grey, classes)
                within = (slice(box[0].start - first, box[0].stop - first), *box[1:])
                image.write(within, grey)
                labels.write(within, classes)
            return self._write_chunks(first, shape, image, labels)
        finally:
            image.close()
            labels.close()

    def _write_chunks(
        self, first: int, shape: tuple[int, int, int], image: Spool, labels: Spool
    ) -> str:
        """Write a slab chunk by chunk; return the sha256 of all its bytes, in that order."""
        digest = sha256()
        arrays = [
            (array_in(self.group, name), spool)
            for name, spool in ((IMAGE, image), (LABELS, labels))
        ]
        sections = slice(first, first + shape[0])
        for rows, columns in _columns_of_chunks(shape):
            for array, spool in arrays:
                values = spool.read((slice(None), rows, columns))
                array[sections, rows, columns] = values
                digest.update(values.tobytes())
        return digest.hexdigest()

    def _take_up(self) -> bool:
        """Return whether an earlier attempt at the same files was taken up."""
        try:
            progress = read_json(self.folder / "progress.json")
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        if progress["source"] != self.source:
            return False
        self.digests = progress["digests"]
        self.tally.take(0, progress["sections"])
        return True

    def _save(self) -> None:
        sections = self.tally.to_dict(0, len(self.digests) * CHUNK)
        progress = {"source": self.source, "digests": self.digests, "sections": sections}
        write_json(self.folder / "progress.json", progress)


def _columns_of_chunks(shape_zyx: tuple[int, int, int]) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of each chunk of a slab, in the order in which they are hashed."""
    for top in range(0, shape_zyx[1], CHUNK):
        for left in range(0, shape_zyx[2], CHUNK):
            yield slice(top, top + CHUNK), slice(left, left + CHUNK)


def _digest(volume: OpenVolume, sections: slice) -> str:
    """Return the sha256 of a slab's bytes as it is on disk."""
    digest = sha256()
    for rows, columns in _columns_of_chunks(volume.record.shape_zyx):
        for array in (volume.image_ZYX, volume.labels_ZYX):
            digest.update(np.ascontiguousarray(array[sections, rows, columns]).tobytes())
    return digest.hexdigest()


def _source(task: ImportOrder) -> dict[str, Any]:
    """Return what a volume is made of: the same source, the same bytes."""
    return {
        "image": _identity(Path(task.image)),
        "labels": _identity(Path(task.labels)),
        "classes": len(task.classes),
        "ignore_label": task.ignore_label,
        "annotated": [[list(ends) for ends in box] for box in task.annotated],
        "palette": [list(colour) for colour in task.palette],
        "voxel_nm": list(task.voxel_nm),
    }


def _identity(path: Path) -> list[Any]:
    """Return path, size and time of a file, or of the nearest folder or file that holds it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    facts = path.stat()
    return [str(path), facts.st_size, facts.st_mtime_ns]


def _check_pair(task: ImportOrder, image: Stack, labels: Stack, reading: LabelReading) -> None:
    reading.check_kind(labels)
    if image.colours:
        raise SpecError(f"{task.image} has {image.colours} colours; save it as grey values")
    if image.shape_zyx != labels.shape_zyx:
        raise SpecError(
            f"{task.labels}: shape {labels.shape_zyx} differs from the image's {image.shape_zyx}"
        )


def _stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return uint8 and uint16 as they are, anything else as float32."""
    return dtype.newbyteorder("=") if dtype.kind == "u" and dtype.itemsize <= 2 else np.dtype("f4")


def _record(task: ImportOrder, place: str, facts: dict[str, Any]) -> VolumeRecord:
    depth, height, width = facts["shape_zyx"]
    tally = Tally(depth, len(task.classes))
    tally.take(0, facts["sections"])
    mean, std = tally.moments(*(task.train or (0, depth)))
    return VolumeRecord(
        name=task.name,
        zarr=place,
        shape_zyx=(depth, height, width),
        voxel_nm=task.voxel_nm,
        train=task.train,
        validation=task.validation,
        test=task.test,
        mean=mean,
        std=std or 1.0,
        checksum=facts["checksum"],
    )
