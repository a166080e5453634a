"""Zarr arrays of format 2 and 3, and OME-Zarr images 0.4 and 0.5 (their full resolution)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr
from zarr.errors import NodeNotFoundError

from emsearch.errors import SpecError
from emsearch.volumes.readers.zarr_chunks import checked
from emsearch.volumes.stack import Stack, Voxel, stack_of

__all__ = ["open_zarr"]

_NM = {"nanometer": 1.0, "micrometer": 1e3, "angstrom": 0.1, "picometer": 1e-3, "millimeter": 1e6}


def open_zarr(path: Path, inner: str) -> Stack:
    """Return the array at `inner`, or the full resolution of the OME-Zarr image there.

    Raises SpecError where there is no array, or several without a name.
    """
    try:
        node = zarr.open(path / inner if inner else path, mode="r")
    except (NodeNotFoundError, FileNotFoundError) as error:
        raise SpecError(f"there is no Zarr array or group at {path / inner}") from error
    if isinstance(node, zarr.Array):
        return stack_of(checked(node), _beside(path, inner))
    scales = _multiscales(node.attrs)
    if scales:
        level = scales[0]["datasets"][0]
        return stack_of(checked(node[level["path"]]), _voxel_nm(scales[0], level))
    names = [name for name, _ in node.arrays()]
    if len(names) == 1:
        return stack_of(checked(node[names[0]]), None)
    raise SpecError(f"{path / inner} holds the arrays {names}; say which, such as {path.name}/raw")


def _multiscales(attributes: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    ome = attributes.get("ome", attributes)  # 0.5 keeps them under "ome", 0.4 at the top
    scales: Sequence[Mapping[str, Any]] = ome.get("multiscales", [])
    return scales


def _beside(path: Path, inner: str) -> Voxel | None:
    """Return the voxel size that an OME-Zarr group gives its array `inner`."""
    folder, _, name = inner.rpartition("/")
    try:
        group = zarr.open_group(path / folder if folder else path, mode="r") if inner else None
    except (NodeNotFoundError, FileNotFoundError):
        return None
    for scale in _multiscales(group.attrs) if group is not None else []:
        for level in scale["datasets"]:
            if level["path"] == name:
                return _voxel_nm(scale, level)
    return None


def _voxel_nm(scale: Mapping[str, Any], level: Mapping[str, Any]) -> Voxel | None:
    """Return the voxel size along the space axes; None where a unit is missing or unknown."""
    axes = scale.get("axes", [])
    sizes = [1.0] * len(axes)
    for change in [
        *scale.get("coordinateTransformations", []),
        *level.get("coordinateTransformations", []),
    ]:
        if change.get("type") == "scale":
            sizes = [size * factor for size, factor in zip(sizes, change["scale"], strict=True)]
    nm = [
        size * _NM[axis["unit"]]
        for axis, size in zip(axes, sizes, strict=True)
        if axis.get("type") == "space" and axis.get("unit") in _NM
    ]
    return (nm[0], nm[1], nm[2]) if len(nm) == 3 else None
