"""Labels as OME-Zarr 0.5 in several resolutions.

Axes: Z Y X voxels in array order.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from emsearch.inference.box import Box, Shape, split_box

__all__ = ["CHUNK", "FILL", "create_probabilities", "create_pyramid", "shrink"]

FILL = 255
"""Value of voxels that were never written; no class has it."""
CHUNK: Shape = (16, 128, 128)
_COARSEST = 256
"""Resolutions are halved until a section is no larger."""

Voxel = tuple[float, float, float]


def create_pyramid(
    folder: Path,
    shape_zyx: Shape,
    voxel_nm: Voxel,
    classes: Sequence[str],
    *,
    instances: bool = False,
) -> Any:
    """Make the group and its empty arrays `0`, `1`, ... and return the group.

    An axis is halved where its voxels are not already twice as long as the shortest ones. Instances
    are numbered from 1 in 32 bits, with 0 where there is none.
    """
    group = zarr.create_group(folder, zarr_format=3, overwrite=True)
    scale = voxel_nm
    datasets: list[dict[str, Any]] = []
    while True:
        name = str(len(datasets))
        datasets.append(
            {"path": name, "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}
        )
        group.create_array(
            name,
            shape=shape_zyx,
            chunks=tuple(min(step, n) for step, n in zip(CHUNK, shape_zyx, strict=True)),
            dtype=np.uint32 if instances else np.uint8,
            fill_value=0 if instances else FILL,
            dimension_names=("z", "y", "x"),
            config={"write_empty_chunks": True},  # so that a missing chunk is one not written
        )
        if max(shape_zyx[1:]) <= _COARSEST:
            break
        steps = _steps(scale)
        shape_zyx = _zyx(-(-n // step) for n, step in zip(shape_zyx, steps, strict=True))
        scale = _zyx(size * step for size, step in zip(scale, steps, strict=True))
    group.attrs["ome"] = {"version": "0.5", **_multiscales(datasets), **_image_label(classes)}
    return group


def create_probabilities(
    group: Any, shape_zyx: Shape, voxel_nm: Voxel, classes: Sequence[str]
) -> None:
    """Make the array `probabilities/0` of uint8 in 255ths, a channel for each class."""
    inner = group.create_group("probabilities")
    inner.create_array(
        "0",
        shape=(len(classes), *shape_zyx),
        chunks=(1, *(min(step, n) for step, n in zip(CHUNK, shape_zyx, strict=True))),
        dtype=np.uint8,
        fill_value=0,
        dimension_names=("c", "z", "y", "x"),
        config={"write_empty_chunks": True},
    )
    scale = [{"type": "scale", "scale": [1.0, *voxel_nm]}]
    content = _multiscales([{"path": "0", "coordinateTransformations": scale}])
    content["multiscales"][0]["axes"].insert(0, {"name": "c", "type": "channel"})
    channels = [{"label": name, "active": True} for name in classes]
    inner.attrs["ome"] = {"version": "0.5", **content, "omero": {"channels": channels}}


def shrink(finer: Any, coarser: Any, look_up: Callable[[], None] = lambda: None) -> None:
    """Fill the coarser array with every second voxel of the finer one, along halved axes.

    `look_up` is called box by box; what it raises ends this.
    """
    steps = [-(-n // m) for n, m in zip(finer.shape, coarser.shape, strict=True)]
    for box in split_box(Box.whole(coarser.shape), (CHUNK[0], 4 * CHUNK[1], 4 * CHUNK[2])):
        look_up()
        start_zyx = _zyx(map(int.__mul__, box.start_zyx, steps))
        stop_zyx = _zyx(
            min(stop * step, length)
            for stop, step, length in zip(box.stop_zyx, steps, finer.shape, strict=True)
        )
        seen = Box(start_zyx=start_zyx, stop_zyx=stop_zyx)
        values = finer[seen.slices()]
        coarser[box.slices()] = values[tuple(slice(None, None, step) for step in steps)]


def _steps(scale: Voxel) -> tuple[int, int, int]:
    z, y, x = (2 if size < 2 * min(scale) else 1 for size in scale)
    return z, y, x


def _zyx(values: Any) -> Any:
    z, y, x = values
    return z, y, x


def _multiscales(datasets: list[dict[str, Any]]) -> dict[str, Any]:
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in ("z", "y", "x")]
    return {"multiscales": [{"axes": axes, "datasets": datasets}]}


def _image_label(classes: Sequence[str]) -> dict[str, Any]:
    properties = [{"label-value": number, "name": name} for number, name in enumerate(classes)]
    return {"image-label": {"properties": properties}}
