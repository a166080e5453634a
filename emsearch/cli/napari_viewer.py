"""napari with image and labels, read lazily."""

from importlib import import_module
from pathlib import Path
from typing import Any

from emsearch.inference.labelled import open_labels
from emsearch.volumes.formats import open_array

__all__ = ["show"]


def show(labels: Path, image: Path | None) -> None:
    """Open a window and stay until it is closed."""
    napari: Any = import_module("napari")
    found = open_labels(labels)
    viewer = napari.Viewer(title=f"emsearch: {labels.name}")
    if image is not None:
        viewer.add_image(open_array(image).array, name=image.stem, scale=found.voxel_nm)
    levels = [found.group[name] for name in sorted(found.group.array_keys(), key=int)]
    viewer.add_labels(levels, multiscale=True, name=labels.stem, scale=found.voxel_nm)
    napari.run()
