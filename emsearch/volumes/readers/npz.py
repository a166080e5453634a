"""NumPy archives (.npz) and arrays (.npy)."""

from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from emsearch.errors import SpecError
from emsearch.volumes.damage import REMEDY
from emsearch.volumes.readers.mapped import Mapped
from emsearch.volumes.stack import Stack, stack_of

__all__ = ["open_npy", "open_npz"]


def open_npz(path: Path, inner: str) -> Stack:
    """Return the array `inner` of an archive, or its only one. It is read to memory.

    Raises SpecError where it is not there; an array `voxel_nm` beside it gives the voxel size.
    """
    with path.open("rb") as file, _archive(path, file) as archive:
        names = [name for name in archive.files if name != "voxel_nm"]
        if not inner and len(names) != 1:
            example = names[0] if names else "image"
            raise SpecError(f"{path} holds {names}; say which, such as {path.name}/{example}")
        name = inner or names[0]
        if name not in names:
            raise SpecError(f"{path} holds no {name!r}; it holds {names}")
        voxel = archive["voxel_nm"].tolist() if "voxel_nm" in archive.files else None
        return stack_of(archive[name], (voxel[0], voxel[1], voxel[2]) if voxel else None)


def _archive(path: Path, file: BinaryIO) -> NpzFile:
    try:
        archive = np.load(file, allow_pickle=False)
    except (BadZipFile, ValueError, EOFError) as error:
        raise SpecError(f"{path} is no NumPy archive: {error}; {REMEDY}") from error
    if not isinstance(archive, NpzFile):
        raise SpecError(f"{path} is one NumPy array; name it .npy")
    return archive


def open_npy(path: Path, inner: str) -> Stack:
    """Return a .npy array, mapped and not read. Raises SpecError where it is none."""
    if inner:
        raise SpecError(f"{path} is one array: there is no {inner!r} in it")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise SpecError(f"{path} is no NumPy array: {error}") from error
    return stack_of(Mapped(path, array), None)
