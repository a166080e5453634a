"""Which file format a path is, and opening it: the one door to volumes on disk.

A path may go on into a file: `cells.h5/raw`, `cells.zarr/labels/0`, `cells.npz/image`. A folder
without a known ending is one of slices.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from emsearch.errors import NotFoundError, SpecError
from emsearch.volumes.damage import naming
from emsearch.volumes.stack import Box, Stack

__all__ = ["FORMATS", "open_array", "read_info"]

Opener = Callable[[Path, str], Stack]

_READERS = "emsearch.volumes.readers"
FORMATS = {
    ".tif": "tiff:open_tiff",
    ".tiff": "tiff:open_tiff",
    ".zarr": "zarr_store:open_zarr",
    ".h5": "hdf5:open_hdf5",
    ".hdf5": "hdf5:open_hdf5",
    ".hdf": "hdf5:open_hdf5",
    ".mrc": "mrc:open_mrc",
    ".rec": "mrc:open_mrc",
    ".st": "mrc:open_mrc",
    ".npz": "npz:open_npz",
    ".npy": "npz:open_npy",
    ".png": "slices:open_picture",
}
"""Reader and its function by ending, in lower case; a reader's library is loaded when it is met."""
_FOLDER = "slices:open_folder"
_REAL = "biuf"  # of complex numbers NumPy would take the real part, with no more than a warning


def open_array(path: Path) -> Stack:
    """Return the volume at `path`, opened but not read.

    Raises NotFoundError where there is nothing, SpecError where it is no volume, is damaged or
    holds no real numbers; the stack raises SpecError that names the file and the sections that
    cannot be read.
    """
    file, inner = _split(path)
    ending = file.suffix.lower()
    if ending not in FORMATS and not file.is_dir():
        raise SpecError(f"{file} has no known ending; known are {', '.join(FORMATS)}")
    opener = _opener(FORMATS.get(ending, _FOLDER))
    with naming(str(path)):
        stack = opener(file, inner)
    if stack.dtype.kind not in _REAL:
        raise SpecError(
            f"{path} holds {stack.dtype} values; save it as integers or real numbers, such as "
            "uint8 or float32"
        )

    def read_box(box: Box) -> NDArray[Any]:
        with naming(f"{_sections(box[0])} of {path}"):
            return stack.read_box(box)

    return replace(stack, read_box=read_box)


def read_info(path: Path) -> Stack:
    """Return shape, data type and voxel size at `path`: the stack itself, of which nothing is read.

    Raises as `open_array` does.
    """
    return open_array(path)


def _sections(part: slice) -> str:
    last = part.stop - 1
    return f"section {last}" if part.start == last else f"sections {part.start} to {last}"


def _split(path: Path) -> tuple[Path, str]:
    """Return the file or folder with a known ending, and the path inside it."""
    for file in (path, *path.parents):
        if file.suffix.lower() in FORMATS and file.exists():
            return file, path.relative_to(file).as_posix() if file != path else ""
    if not path.exists():
        raise NotFoundError(f"no such file: {path}")
    return path, ""


def _opener(name: str) -> Opener:
    module, function = name.split(":")
    try:
        opener: Opener = getattr(import_module(f"{_READERS}.{module}"), function)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"this format needs the package {error.name}; run: pip install {error.name}"
        ) from error
    return opener
