"""MRC files, as tomography writes them: .mrc, .rec, .st."""

import warnings
from pathlib import Path
from typing import Any

import mrcfile  # type: ignore[import-untyped]

from emsearch.errors import SpecError
from emsearch.volumes.readers.mapped import Mapped
from emsearch.volumes.stack import Stack, Voxel, stack_of

__all__ = ["open_mrc"]


def open_mrc(path: Path, inner: str) -> Stack:
    """Return an MRC volume, mapped and not read. Raises SpecError where it is none."""
    if inner:
        raise SpecError(f"{path} is one volume: there is no {inner!r} in it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # odd headers of old writers
            file = mrcfile.mmap(path, mode="r", permissive=True)
    except (ValueError, OSError) as error:
        raise SpecError(f"{path} is no MRC file: {error}") from error
    with file:
        if file.data is None:
            raise SpecError(f"{path} is no MRC file, or was cut off: header and size do not fit")
        return stack_of(Mapped(path, file.data), _voxel_nm(file))


def _voxel_nm(file: Any) -> Voxel | None:
    """Return the header's voxel size, which is in ångström; 0 stands for unknown."""
    size = file.voxel_size
    deep, high, wide = (round(float(size[axis]) / 10, 6) for axis in "zyx")
    return (deep, high, wide) if min(deep, high, wide) > 0 else None
