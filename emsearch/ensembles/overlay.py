"""Pictures to look at: image, truth and what several segmentations say, side by side.

Axes: Y X pixels in array order, C colour.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from emsearch.inference.box import Box
from emsearch.inference.labelled import Labelled
from emsearch.records.files import replacing
from emsearch.volumes.formats import open_array

__all__ = ["PALETTE", "colour_of", "paint", "write_overlay", "write_sections"]

PALETTE = np.array(
    [
        [0, 0, 0],
        [230, 159, 0],
        [86, 180, 233],
        [204, 60, 60],
        [0, 158, 115],
        [240, 228, 66],
        [0, 114, 178],
        [204, 121, 167],
    ],
    np.uint8,
)
"""Colours of the classes, told apart by the colour-blind too (Okabe and Ito 2008); class 0 is the
image itself, classes beyond the last begin anew with the second."""

_OPACITY = 0.55
_GAP = 6  # pixels between panels
_LINE = 20  # pixels of a line of text above or below them
_LETTERS = 13  # pixels of their size
_LARGEST = 512  # pixels along a panel's side
_FONT = ImageFont.load_default(_LETTERS)


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the red, green and blue of a class; the first one's is that of no paint, black."""
    place = (number - 1) % (len(PALETTE) - 1) + 1 if number > 0 else 0
    red, green, blue = PALETTE[place].tolist()
    return red, green, blue


def paint(grey_YX: NDArray[np.uint8], labels_YX: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the image with the classes in colour over it, shape (Y, X, 3).

    Class 0 and ignored voxels (below 0) stay grey.
    """
    colour = np.where(labels_YX > 0, (labels_YX - 1) % (len(PALETTE) - 1) + 1, 0)
    opacity_YX1 = np.where(labels_YX > 0, _OPACITY, 0.0)[..., None]
    mixed = (1 - opacity_YX1) * grey_YX[..., None] + opacity_YX1 * PALETTE[colour]
    return mixed.astype(np.uint8)


def write_overlay(
    path: Path,
    image_YX: NDArray[np.floating],
    panels: Mapping[str, NDArray[np.integer]],
    classes: Sequence[str] = (),
) -> None:
    """Write a PNG with the image, then each of the panels' labels_YX over it, under their names.

    A section larger than 512 pixels is shown by its middle. Below stand the classes in their
    colours, but for the first, which is not painted.
    """
    middle = tuple(
        slice((size - min(size, _LARGEST)) // 2, (size + min(size, _LARGEST)) // 2)
        for size in image_YX.shape
    )
    grey_YX = _stretch(image_YX[middle])
    pictures = {"image": np.repeat(grey_YX[..., None], 3, axis=2)}
    pictures |= {name: paint(grey_YX, labels_YX[middle]) for name, labels_YX in panels.items()}
    height, width = grey_YX.shape
    across = len(pictures) * (width + _GAP) - _GAP
    legend = _legend(classes, across)
    sheet = Image.new("RGB", (across, _LINE + height + legend.height), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for place, (name, picture) in enumerate(pictures.items()):
        left = place * (width + _GAP)
        pen.text((left, 2), name, (0, 0, 0), _FONT)
        sheet.paste(Image.fromarray(picture), (left, _LINE))
    sheet.paste(legend, (0, _LINE + height))
    with replacing(path) as scratch:
        sheet.save(scratch, format="PNG")


def _legend(classes: Sequence[str], width: int) -> Image.Image:
    """Return the names of painted classes beside their colours, in as many lines as it takes."""
    places: list[tuple[int, int]] = []
    left, line = 0, 0
    for name in classes[1:]:
        needs = 3 * _GAP + _LETTERS + round(_FONT.getlength(name))
        if left and left + needs > width:
            left, line = 0, line + 1
        places.append((left, line * _LINE))
        left += needs
    sheet = Image.new("RGB", (width, (line + 1) * _LINE if places else 0), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for number, ((x, y), name) in enumerate(zip(places, classes[1:], strict=True), start=1):
        pen.rectangle((x, y + 4, x + _LETTERS, y + 4 + _LETTERS), colour_of(number))
        pen.text((x + _LETTERS + _GAP, y + 3), name, (0, 0, 0), _FONT)
    return sheet


def write_sections(found: Labelled, image: Path | None, folder: Path, count: int) -> list[Path]:
    """Write overlays of sections spread over a segmentation; return their paths.

    Without an image the labels stand alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stack = None if image is None else open_array(image)
    depth = found.shape[0]
    count = min(count, depth)
    paths = []
    for turn in range(count):
        z = depth * (2 * turn + 1) // (2 * count)
        start, stop = (z, 0, 0), (z + 1, *found.shape[1:])
        labels_YX = found.read(Box(start_zyx=start, stop_zyx=stop))[0].astype(np.int16)
        image_YX = np.zeros(labels_YX.shape) if stack is None else stack.read(z, z + 1)[0]
        paths.append(folder / f"z{z:05d}.png")
        write_overlay(paths[-1], image_YX, {"labels": labels_YX}, found.classes)
    return paths


def _stretch(image_YX: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = np.percentile(image_YX, (0.5, 99.5))
    scaled = (image_YX - low) / max(float(high - low), 1e-6)
    grey_YX: NDArray[np.uint8] = (255 * scaled.clip(0, 1)).astype(np.uint8)
    return grey_YX
