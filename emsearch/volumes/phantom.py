"""A generated EM volume whose labels are exact: for the demo, tests and measurements.

Cells are a warped, stretched Voronoi diagram with membranes between them; mitochondria and granules
of two sizes are bent ellipsoids inside. How it looks under the microscope is in phantom_look.
Axes: Z Y X voxels, D the three coordinates z, y, x in nm.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emsearch.volumes.phantom_look import Body, Tissue, picture, smooth_noise_ZYX

__all__ = ["CLASSES", "VOXEL_NM", "phantom"]

CLASSES = ("background", "cytoplasm", "membrane", "mitochondrion", "granule", "dense_granule")
"""Names of the label values 0, 1, ... of a phantom."""
VOXEL_NM = (40.0, 10.0, 10.0)
"""Size of its voxels along z, y, x."""

_BACKGROUND, _CYTOPLASM, _MEMBRANE = range(3)
_CELL_NM = (1400.0, 620.0, 760.0)  # spacing of the cells: longer along z
_EMPTY = 0.14  # of the Voronoi cells: space between cells
_MEMBRANE_NM = 19.0  # half the thickness of two membranes that touch
_WARP_NM, _WARP_SCALE_NM = 100.0, 420.0
_DRIFT_NM = 14.0  # step of the sections' random walk

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """A sort of body inside cells."""

    label: int
    fraction: float
    """Of the volume, at most: bodies that do not fit are left out."""
    radius_nm: tuple[float, float]
    """Smallest and largest."""
    elongation: tuple[float, float]
    """Length over width, smallest and largest."""


_KINDS = (
    _Kind(label=3, fraction=0.10, radius_nm=(90, 150), elongation=(1.3, 3.2)),
    _Kind(label=4, fraction=0.055, radius_nm=(80, 135), elongation=(1.0, 1.35)),
    _Kind(label=5, fraction=0.006, radius_nm=(36, 58), elongation=(1.0, 1.15)),
)


def phantom(
    shape_zyx: tuple[int, int, int], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return image and labels, both uint8 of `shape_zyx`; a function of shape and seed alone.

    Sections drift against each other and differ in brightness and contrast; labels move with them.
    """
    rng = np.random.default_rng(seed)
    place_ZYXD = _warped_places(shape_zyx, rng)
    tissue = _cells(place_ZYXD, rng)
    bodies = list(_fill_cells(tissue, place_ZYXD, rng))
    return picture(tissue, bodies, rng), tissue.labels_ZYX


def _warped_places(shape_zyx: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """Return where in the tissue each voxel lies, in nm, shape (Z, Y, X, 3)."""
    axes = [np.arange(n, dtype=np.float32) * nm for n, nm in zip(shape_zyx, VOXEL_NM, strict=True)]
    place_ZYXD = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    scale_vx = tuple(_WARP_SCALE_NM / nm for nm in VOXEL_NM)
    for axis in range(3):
        place_ZYXD[..., axis] += _WARP_NM * smooth_noise_ZYX(shape_zyx, scale_vx, rng)
    drift_ZD = np.cumsum(rng.normal(0, _DRIFT_NM, (shape_zyx[0], 2)), axis=0).astype(np.float32)
    place_ZYXD[..., 1:] += drift_ZD[:, None, None]
    return place_ZYXD


def _cells(place_ZYXD: Array, rng: np.random.Generator) -> Tissue:
    """Return cells, membranes and background, as yet without anything inside the cells."""
    sites_ND, turn_DD = _sites(place_ZYXD, rng)
    is_empty_N = rng.random(len(sites_ND)) < _EMPTY
    tone_N = rng.normal(0, 10.0, len(sites_ND)).astype(np.float32)
    tree = cKDTree(sites_ND)
    corner_D = place_ZYXD[len(place_ZYXD) // 2, 0, 0]
    is_empty_N[tree.query(corner_D @ turn_DD)[1]] = True  # so that even a small volume shows some
    tissue = Tissue.blank(place_ZYXD.shape[:3])
    for z, place_YXD in enumerate(place_ZYXD):
        distance, site = tree.query(place_YXD @ turn_DD, k=2)
        mine, next_one = site[..., 0], site[..., 1]
        apart = np.linalg.norm(sites_ND[mine] - sites_ND[next_one], axis=-1)
        depth_YX = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * apart)
        thickness_nm = np.where(is_empty_N[next_one], 1.4, 1.0) * _MEMBRANE_NM
        inside = np.where(depth_YX < thickness_nm, _MEMBRANE, _CYTOPLASM)
        tissue.labels_ZYX[z] = np.where(is_empty_N[mine], _BACKGROUND, inside)
        tissue.depth_ZYX[z], tissue.tone_ZYX[z] = depth_YX, tone_N[mine]
    return tissue


def _sites(place_ZYXD: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the cells' middles on a jittered grid that is turned against the sections."""
    turn_DD = np.linalg.qr(np.eye(3) + rng.normal(0, 0.35, (3, 3)))[0].astype(np.float32)
    corners_ND = place_ZYXD[:: max(place_ZYXD.shape[0] - 1, 1), ::16, ::16].reshape(-1, 3) @ turn_DD
    low_D, high_D = corners_ND.min(axis=0), corners_ND.max(axis=0)
    axes = [
        np.arange(low - 2 * step, high + 2 * step, step)
        for low, high, step in zip(low_D, high_D, _CELL_NM, strict=True)
    ]
    grid_ND = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    jitter_ND = rng.uniform(-0.42, 0.42, grid_ND.shape) * np.array(_CELL_NM)
    return (grid_ND + jitter_ND).astype(np.float32), turn_DD


def _fill_cells(tissue: Tissue, place_ZYXD: Array, rng: np.random.Generator) -> Iterator[Body]:
    """Write bodies into the labels, and yield each; none touches another or a membrane."""
    volume_nm3 = tissue.labels_ZYX.size * float(np.prod(VOXEL_NM))
    for kind in _KINDS:
        one_nm3 = 4.19 * np.mean(kind.radius_nm) ** 3 * np.mean(kind.elongation)
        for _ in range(max(2, round(kind.fraction * volume_nm3 / one_nm3))):
            body = _try_to_place(kind, tissue, place_ZYXD, rng)
            if body is not None:
                tissue.labels_ZYX[body.box][body.inside_ZYX] = kind.label
                yield body


def _try_to_place(
    kind: _Kind, tissue: Tissue, place_ZYXD: Array, rng: np.random.Generator
) -> Body | None:
    """Return a body at the first of some random places that has room for it, None if none has."""
    labels_ZYX = tissue.labels_ZYX
    radius_nm, long = rng.uniform(*kind.radius_nm), rng.uniform(*kind.elongation)
    turn_DD = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    for _ in range(40):
        middle = tuple(int(rng.integers(n)) for n in labels_ZYX.shape)
        shallow = tissue.depth_ZYX[middle] < radius_nm + _MEMBRANE_NM
        if labels_ZYX[middle] != _CYTOPLASM or shallow:
            continue
        box = _box_around(middle, 1.8 * radius_nm * long, labels_ZYX.shape)
        away_ZYXD = (place_ZYXD[box] - place_ZYXD[middle]) @ turn_DD
        along_ZYX = away_ZYXD[..., 0].copy()
        away_ZYXD[..., 0] /= long
        reach_ZYX = np.linalg.norm(away_ZYXD, axis=-1) / radius_nm
        near_ZYX = reach_ZYX <= 1.0 + 15.0 / radius_nm
        if (labels_ZYX[box][near_ZYX] == _CYTOPLASM).all():
            return Body(label=kind.label, box=box, reach_ZYX=reach_ZYX, along_ZYX=along_ZYX)
    return None


def _box_around(
    middle: tuple[int, ...], radius_nm: float, shape: tuple[int, ...]
) -> tuple[slice, ...]:
    reach = [int(np.ceil(radius_nm / nm)) for nm in VOXEL_NM]
    return tuple(
        slice(max(m - r, 0), min(m + r + 1, n))
        for m, r, n in zip(middle, reach, shape, strict=True)
    )
