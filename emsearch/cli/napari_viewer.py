"""napari with labels, and the image where it is given; Zarr arrays are read as they are shown."""

from importlib import import_module
from pathlib import Path
from typing import Any

import zarr

from emsearch.inference.labelled import open_labels
from emsearch.volumes.formats import open_array

__all__ = ["show"]


def show(labels: Path, image: Path | None) -> None:
    """Open a window and stay until it is closed."""
    napari: Any = import_module("napari")
    found = open_labels(labels)
    viewer = napari.Viewer(title=f"emsearch: {labels.name}")
    if image is not None:
        stack = open_array(image)
        lazily = isinstance(stack.array, zarr.Array)
        shown = stack.array if lazily else stack.read(0, stack.shape_zyx[0])
        viewer.add_image(shown, name=image.stem, scale=found.voxel_nm)
    levels = [found.group[name] for name in sorted(found.group.array_keys(), key=int)]
    viewer.add_labels(levels, multiscale=True, name=labels.stem, scale=found.voxel_nm)
    napari.run()
