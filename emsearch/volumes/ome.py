"""The OME-Zarr 0.5 folder that an imported volume is.

Image in array `0`, class numbers in `labels/classes/0`, both in chunks of 64 voxels, unsharded,
because training reads small boxes at random.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from emsearch.errors import SpecError
from emsearch.volumes.stack import CHUNK, Voxel

__all__ = ["IMAGE", "LABELS", "array_in", "create_volume", "scale_metadata"]

IMAGE = "0"
LABELS = "labels/classes/0"


def create_volume(
    folder: Path,
    shape_zyx: tuple[int, int, int],
    dtype: np.dtype[Any],
    voxel_nm: Voxel,
    classes: Sequence[str],
) -> zarr.Group:
    """Make an OME-Zarr whose image and labels are still to be written; return its group."""
    group = zarr.create_group(folder, zarr_format=3)
    group.attrs["ome"] = {"version": "0.5", **scale_metadata(voxel_nm)}
    group.create_group("labels").attrs["ome"] = {"version": "0.5", "labels": ["classes"]}
    labels = group.create_group("labels/classes")
    values: list[Any] = [
        {"label-value": number, "name": name} for number, name in enumerate(classes)
    ]
    labels.attrs["ome"] = {
        "version": "0.5",
        "image-label": {"properties": values, "source": {"image": "../../"}},
        **scale_metadata(voxel_nm),
    }
    for name, kind in ((IMAGE, dtype), (LABELS, np.dtype(np.uint8))):
        group.create_array(
            name,
            shape=shape_zyx,
            chunks=tuple(min(CHUNK, n) for n in shape_zyx),
            dtype=kind,
            dimension_names=("z", "y", "x"),
        )
    return group


def array_in(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return the array `name`; it writes empty chunks too, so that a missing one is a fault.

    Raises SpecError where a group, or nothing, is there.
    """
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise SpecError(f"{group.store_path} holds no array {name!r}; import the volume again")
    return found.with_config({"write_empty_chunks": True})


def scale_metadata(voxel_nm: Voxel) -> dict[str, Any]:
    """Return OME's `multiscales` for one resolution in array `0`."""
    return {
        "multiscales": [
            {
                "axes": [
                    {"name": axis, "type": "space", "unit": "nanometer"} for axis in ("z", "y", "x")
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": list(voxel_nm)}],
                    }
                ],
            }
        ]
    }
