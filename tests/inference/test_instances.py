"""Objects found block by block against those of the whole volume at once.

Axes: Z Y X voxels in array order.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.inference.box import Shape
from emsearch.inference.instances import Wish, find_instances
from emsearch.inference.labelled import measure, open_labels
from emsearch.inference.pyramid import create_pyramid

CLASSES = ("outside", "cell", "spot")
VOXEL_NM = (20.0, 10.0, 10.0)
Silent = Callable[[int, int], None]


def _write(folder: Path, labels_ZYX: NDArray[np.uint8]) -> Path:
    z, y, x = labels_ZYX.shape
    create_pyramid(folder, (z, y, x), VOXEL_NM, CLASSES)["0"][:] = labels_ZYX
    return folder


def _blobs(shape_zyx: Shape, seed: int = 0) -> NDArray[np.uint8]:
    """Return tangled blobs of both classes, many of which reach through several blocks."""
    noise = np.random.default_rng(seed).standard_normal(shape_zyx)
    smooth = ndimage.gaussian_filter(noise, (1, 3, 3))
    labels_ZYX: NDArray[np.uint8] = np.digitize(smooth, np.quantile(smooth, (0.6, 0.8))).astype(
        np.uint8
    )
    return labels_ZYX


def _found(out: Path, name: str) -> NDArray[np.uint32]:
    group: Any = zarr.open_group(out / name, mode="r")
    return np.asarray(group["0"][:])


def _same_objects(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two numberings are of the same objects."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return bool(len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1])


@pytest.mark.parametrize("block", [(5, 16, 16), (16, 32, 64), (99, 99, 99)])
def test_components_do_not_depend_on_blocks(block: Shape, tmp_path: Path, silent: Silent) -> None:
    labels_ZYX = _blobs((12, 60, 70))
    labels = _write(tmp_path / "labels.zarr", labels_ZYX)
    counts = find_instances(labels, tmp_path / "out.zarr", Wish(classes=CLASSES[1:]), silent, block)
    for number, name in enumerate(CLASSES[1:], 1):
        expected, count = ndimage.label(labels_ZYX == number)
        found = _found(tmp_path / "out.zarr", name)
        assert counts[name] == count == found.max()
        assert _same_objects(found, expected)


def test_objects_of_a_wrong_size_are_left_out(tmp_path: Path, silent: Silent) -> None:
    labels_ZYX = _blobs((12, 60, 70))
    labels = _write(tmp_path / "labels.zarr", labels_ZYX)
    wish = Wish(classes=("spot",), min_voxels=20, max_voxels=300)
    find_instances(labels, tmp_path / "out.zarr", wish, silent, (5, 16, 16))
    whole, _ = ndimage.label(labels_ZYX == 2)
    sizes = np.bincount(whole.ravel())[1:]
    found = np.bincount(_found(tmp_path / "out.zarr", "spot").ravel())[1:]
    assert sorted(found) == sorted(sizes[(sizes >= 20) & (sizes <= 300)])
    assert len(found) < len(sizes)


def _touching(shape_zyx: Shape) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return balls in a row that touch, and which ball each voxel belongs to."""
    z, y, x = np.indices(shape_zyx)
    labels_ZYX, balls = np.zeros(shape_zyx, np.uint8), np.zeros(shape_zyx, np.uint8)
    for number, middle in enumerate(range(12, shape_zyx[2] - 8, 17), 1):
        ball = (2 * (z - 8)) ** 2 + (y - 20) ** 2 + (x - middle) ** 2 < 100
        labels_ZYX[ball] = 1
        balls[ball & (balls == 0)] = number
    return labels_ZYX, balls


@pytest.mark.parametrize("block", [(6, 16, 16), (16, 40, 50), (99, 99, 99)])
def test_a_watershed_cuts_objects_that_touch_in_blocks_as_in_the_whole(
    block: Shape, tmp_path: Path, silent: Silent
) -> None:
    labels_ZYX, balls = _touching((17, 41, 120))
    labels = _write(tmp_path / "labels.zarr", labels_ZYX)
    wish = Wish(classes=("cell",), is_watershed=True, apart_nm=120, halo_vx=24)
    counts = find_instances(labels, tmp_path / "out.zarr", wish, silent, block)
    found = _found(tmp_path / "out.zarr", "cell")
    assert counts["cell"] == balls.max()
    assert ((found > 0) == (labels_ZYX > 0)).all()
    for number in range(1, int(balls.max()) + 1):
        inside = found[balls == number]
        assert (inside == np.bincount(inside).argmax()).mean() > 0.95


def test_an_object_wider_than_the_halo_stays_whole(tmp_path: Path, silent: Silent) -> None:
    labels_ZYX = np.zeros((4, 40, 200), np.uint8)
    labels_ZYX[:, 5:35, 5:195] = 1
    labels = _write(tmp_path / "labels.zarr", labels_ZYX)
    wish = Wish(classes=("cell",), is_watershed=True, apart_nm=5000, halo_vx=8)
    find_instances(labels, tmp_path / "out.zarr", wish, silent, (4, 40, 32))
    found = _found(tmp_path / "out.zarr", "cell")
    assert (found > 0).sum() == (labels_ZYX > 0).sum()
    assert np.bincount(found.ravel())[1:].max() > 0.3 * (labels_ZYX > 0).sum()


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    labels = _write(tmp_path / "labels.zarr", _blobs((6, 40, 40)))
    told: list[tuple[int, int]] = []
    find_instances(
        labels,
        tmp_path / "out.zarr",
        Wish(classes=CLASSES[1:]),
        lambda done, of: told.append((done, of)),
        (6, 20, 40),
    )
    assert told[-1] == (8, 8)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_cannot_be_is_named_and_nothing_is_written(tmp_path: Path, silent: Silent) -> None:
    labels = _write(tmp_path / "labels.zarr", _blobs((4, 20, 20)))
    with pytest.raises(SpecError, match="no class 'nucleus'; there are outside, cell, spot"):
        find_instances(labels, tmp_path / "out.zarr", Wish(classes=("nucleus",)), silent)
    with pytest.raises(SpecError, match="exists; choose another name"):
        find_instances(labels, labels, Wish(classes=("cell",)), silent)
    with pytest.raises(NotFoundError, match="no segmentation at"):
        open_labels(tmp_path / "absent.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(SpecError, match="is no segmentation"):
        open_labels(tmp_path / "other.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_amounts_are_those_of_the_labels_and_objects(tmp_path: Path, silent: Silent) -> None:
    labels_ZYX = _blobs((12, 60, 70))
    labels = _write(tmp_path / "labels.zarr", labels_ZYX)
    find_instances(labels, tmp_path / "out.zarr", Wish(classes=("spot",)), silent)
    outside, cell, spot = measure(labels, tmp_path / "out.zarr")
    assert [one.voxels for one in (outside, cell, spot)] == np.bincount(labels_ZYX.ravel()).tolist()
    assert sum(one.fraction for one in (outside, cell, spot)) == pytest.approx(1)
    assert spot.volume_um3 == pytest.approx(spot.voxels * 20 * 10 * 10 / 1e9)
    assert cell.objects is None
    whole, count = ndimage.label(labels_ZYX == 2)
    assert spot.objects == count
    assert spot.median_voxels == np.median(np.bincount(whole.ravel())[1:])


@pytest.mark.parametrize("mark", [{"complete": False}, {}])
def test_a_segmentation_that_is_not_finished_is_refused(
    mark: dict[str, Any], tmp_path: Path, silent: Silent
) -> None:
    labels = _write(tmp_path / "labels.zarr", _blobs((4, 40, 40)))
    group: Any = zarr.open_group(labels, mode="r+")
    group.attrs["emsearch"] = mark
    message = "is not finished: .* run segment again as before, it goes on"
    with pytest.raises(StateError, match=message):
        measure(labels)
    with pytest.raises(StateError, match=message):
        find_instances(labels, tmp_path / "out.zarr", Wish(classes=("cell",)), silent)
    assert not (tmp_path / "out.zarr").exists()
    group.attrs["emsearch"] = {"complete": True}
    assert measure(labels)[1].voxels > 0
