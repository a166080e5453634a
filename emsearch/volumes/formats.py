"""Which file format a path is, and opening it: the one door to volumes on disk.

A path may go on into a file: `cells.h5/raw`, `cells.zarr/labels/0`, `cells.npz/image`.
"""

from collections.abc import Callable
from pathlib import Path

from emsearch.errors import NotFoundError, SpecError
from emsearch.volumes.readers.npz import open_npy, open_npz
from emsearch.volumes.readers.tiff import open_tiff
from emsearch.volumes.readers.zarr_store import open_zarr
from emsearch.volumes.stack import Stack

__all__ = ["FORMATS", "open_array", "read_info"]

Opener = Callable[[Path, str], Stack]

FORMATS: dict[str, Opener] = {
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".zarr": open_zarr,
    ".npz": open_npz,
    ".npy": open_npy,
}
"""Openers by ending, in lower case; each is given the file and the path inside it."""


def open_array(path: Path) -> Stack:
    """Return the volume at `path`, opened but not read.

    Raises NotFoundError where there is nothing, SpecError where it is no volume.
    """
    file, inner = _split(path)
    opener = FORMATS.get(file.suffix.lower())
    if opener is not None:
        return opener(file, inner)
    raise SpecError(f"{file} has no known ending; known are {', '.join(FORMATS)}")


def read_info(path: Path) -> Stack:
    """Return shape, data type and voxel size at `path`: the stack itself, of which nothing is read.

    Raises as `open_array` does.
    """
    return open_array(path)


def _split(path: Path) -> tuple[Path, str]:
    """Return the file or folder with a known ending, and the path inside it."""
    for file in (path, *path.parents):
        if file.suffix.lower() in FORMATS and file.exists():
            return file, path.relative_to(file).as_posix() if file != path else ""
    if not path.exists():
        raise NotFoundError(f"no such file: {path}")
    return path, ""
