"""A segmentation that is on disk, read back: labels, voxel size, names of classes.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import NodeNotFoundError

from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.inference.box import Box, Shape, split_box

__all__ = ["ClassVolume", "Labelled", "measure", "open_labels"]

_BLOCK: Shape = (64, 512, 512)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """Labels of a volume, opened to read."""

    folder: Path
    group: Any
    """Zarr group of the arrays `0`, `1`, ... in falling resolution."""
    array: Any
    """Zarr array of labels_ZYX in full resolution."""
    voxel_nm: tuple[float, float, float]
    classes: tuple[str, ...]

    @property
    def shape(self) -> Shape:
        """Voxels along z, y, x."""
        z, y, x = self.array.shape
        return z, y, x

    def read(self, box: Box) -> NDArray[Any]:
        """Return the labels_ZYX of a box."""
        return np.asarray(self.array[box.slices()])

    def require_finished(self) -> None:
        """Raise StateError where `segment` has not finished them; others' labels always are."""
        if "emsearch" in self.group.attrs and not self.group.attrs["emsearch"].get("complete"):
            raise StateError(
                f"{self.folder} is not finished: blocks of it are missing or not verified; run "
                "segment again as before, it goes on"
            )

    def number_of(self, name: str) -> int:
        """Return the label value of a class. Raises SpecError where there is none of that name."""
        if name not in self.classes:
            raise SpecError(f"no class {name!r}; there are {', '.join(self.classes)}")
        return self.classes.index(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassVolume:
    """How much of a volume a class takes, and in how many pieces."""

    name: str
    voxels: int
    fraction: float
    """Of all labelled voxels."""
    volume_um3: float
    objects: int | None
    """None where they were not counted."""
    median_voxels: float | None
    """Of an object."""


def open_labels(folder: Path) -> Labelled:
    """Return the labels that `segment` wrote. Raises NotFoundError and SpecError."""
    try:
        group: Any = zarr.open_group(folder, mode="r")
    except (FileNotFoundError, NodeNotFoundError) as error:
        raise NotFoundError(f"no segmentation at {folder}") from error
    try:
        ome = dict(group.attrs["ome"])
        (first, *_) = ome["multiscales"][0]["datasets"]
        z, y, x = first["coordinateTransformations"][0]["scale"]
        properties = ome["image-label"]["properties"]
    except (KeyError, IndexError, ValueError) as error:
        raise SpecError(f"{folder} is no segmentation: its OME metadata lack {error}") from error
    return Labelled(
        folder=folder,
        group=group,
        array=group[first["path"]],
        voxel_nm=(z, y, x),
        classes=tuple(entry["name"] for entry in properties),
    )


def measure(labels: Path, instances: Path | None = None) -> list[ClassVolume]:
    """Return what each class takes of a segmentation, with the objects that were found in it.

    Volume fractions are the group's own read-out. Raises NotFoundError, SpecError, and StateError
    where the segmentation is not finished.
    """
    found = open_labels(labels)
    found.require_finished()
    voxels_K = np.zeros(256, np.int64)
    for block in _blocks(found.shape):
        voxels_K += np.bincount(found.read(block).reshape(-1), minlength=256)
    labelled = int(voxels_K[: len(found.classes)].sum())
    voxel_um3 = float(np.prod(found.voxel_nm)) / 1e9
    return [
        ClassVolume(
            name=name,
            voxels=int(voxels),
            fraction=int(voxels) / max(labelled, 1),
            volume_um3=int(voxels) * voxel_um3,
            **_objects(None if instances is None else instances / name),
        )
        for name, voxels in zip(found.classes, voxels_K, strict=False)
    ]


def _objects(folder: Path | None) -> dict[str, Any]:
    """Return how many objects there are and how large they are in the middle."""
    if folder is None or not folder.is_dir():
        return {"objects": None, "median_voxels": None}
    found = open_labels(folder)
    voxels_P = np.zeros(1, np.int64)
    for block in _blocks(found.shape):
        counts = np.bincount(found.read(block).reshape(-1), minlength=len(voxels_P))
        counts[: len(voxels_P)] += voxels_P
        voxels_P = counts
    sizes = voxels_P[1:][voxels_P[1:] > 0]
    median = float(np.median(sizes)) if len(sizes) else None
    return {"objects": len(sizes), "median_voxels": median}


def _blocks(shape: Shape) -> Iterator[Box]:
    return split_box(Box.whole(shape), _BLOCK)
