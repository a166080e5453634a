"""MRC files, as tomography writes them: .mrc, .rec, .st."""

import warnings
import weakref
from pathlib import Path
from typing import Any

import mrcfile  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
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
    if file.data is None:
        file.close()
        raise SpecError(f"{path} is no MRC file, or was cut off: its header and size do not fit")
    return stack_of(_Mapped(file), _voxel_nm(file))


class _Mapped:
    """The data of an MRC file; closes it when forgotten."""

    def __init__(self, file: Any) -> None:
        self._data = file.data
        self.shape, self.dtype = file.data.shape, file.data.dtype
        weakref.finalize(self, file.close)

    def __getitem__(self, box: Any) -> NDArray[Any]:
        return np.array(self._data[box])


def _voxel_nm(file: Any) -> Voxel | None:
    """Return the header's voxel size, which is in ångström; 0 stands for unknown."""
    size = file.voxel_size
    deep, high, wide = (round(float(size[axis]) / 10, 6) for axis in "zyx")
    return (deep, high, wide) if min(deep, high, wide) > 0 else None
