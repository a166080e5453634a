"""Folders of slices, and single pictures: TIFF, PNG."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from emsearch.errors import SpecError
from emsearch.volumes.damage import REMEDY, naming
from emsearch.volumes.readers.tiff import read_page
from emsearch.volumes.stack import Stack, stack_of

__all__ = ["open_folder", "open_picture"]

_ENDINGS = {".tif", ".tiff", ".png"}
# Pillow takes a picture of more than 13,000 x 13,000 for an attack; it may be a section.
Image.MAX_IMAGE_PIXELS = None
_GREY_MODES = {"1", "L", "P", "I", "I;16", "F"}


def open_folder(path: Path, _inner: str) -> Stack:
    """Return the pictures of a folder as sections, in the order of the numbers in their names.

    Raises SpecError where there is none, or they differ in shape or type.
    """
    files = sorted(
        (file for file in path.iterdir() if file.suffix.lower() in _ENDINGS), key=_by_numbers
    )
    if not files:
        raise SpecError(f"{path} holds no slices; give a folder of .tif or .png files")
    slices = _Slices(files)
    return stack_of(slices, None, colours=slices.colours, is_paged=True)


def open_picture(path: Path, inner: str) -> Stack:
    """Return one picture as a volume of one section. Raises SpecError where it is none."""
    if inner:
        raise SpecError(f"{path} is one picture: there is no {inner!r} in it")
    slices = _Slices([path])
    return stack_of(slices, None, colours=slices.colours, is_paged=True)


class _Slices:
    """Pictures of one shape as an array of which boxes are read."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        first = _read(files[0])
        self._shape, self.dtype = first.shape, first.dtype
        self.colours = first.shape[2] if first.ndim == 3 else 0
        self.shape = (len(files), *first.shape)

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[Any]:
        return np.stack([self._slice(file)[box[1:]] for file in self._files[box[0]]])

    def _slice(self, file: Path) -> NDArray[Any]:
        picture = _read(file)
        if (picture.shape, picture.dtype) != (self._shape, self.dtype):
            raise SpecError(
                f"{file} is {picture.dtype} of shape {picture.shape}, but {self._files[0].name} "
                f"is {self.dtype} of shape {self._shape}; slices must be alike"
            )
        return picture


def _read(file: Path) -> NDArray[Any]:
    """Return a picture. Raises SpecError that names it where it is none, or is cut short."""
    with naming(str(file)):
        if file.suffix.lower() != ".png":
            return read_page(file)
        return _read_png(file)


def _read_png(file: Path) -> NDArray[Any]:
    try:
        with Image.open(file) as picture:
            alike = picture if picture.mode in _GREY_MODES else picture.convert("RGB")
            return np.asarray(alike)
    except UnidentifiedImageError as error:
        raise SpecError(f"{file} is no picture: {error}; {REMEDY}") from error


def _by_numbers(file: Path) -> list[tuple[int, str]]:
    """Return a key by which slice 9 comes before slice 10."""
    parts = re.split(r"(\d+)", file.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
