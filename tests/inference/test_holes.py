"""Images with voxels that hold no grey value."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from emsearch.inference.card import read_card
from emsearch.inference.output import notes_on
from emsearch.inference.stream import segment
from emsearch.records.order import SegmentOrder
from tests.support.trials import picture

pytestmark = pytest.mark.usefixtures("small_blocks")
Silent = Callable[[int, int], None]
_HOLE = (slice(3, 4), slice(20, 30), slice(20, 30))
_BEYOND = (slice(3, 4), slice(90, None))  # what no network sees of it


def _segmented(
    task: SegmentOrder, image: NDArray[Any], name: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the labels_ZYX of an image, and its probability_KZYX in 255ths."""
    folder = Path(task.out).parent
    np.save(folder / f"{name}.npy", image)
    task = replace(task, volume=str(folder / f"{name}.npy"), out=str(folder / f"{name}.zarr"))
    segment(replace(task, probabilities=True), lambda _done, _of: None)
    group: Any = zarr.open_group(folder / f"{name}.zarr", mode="r")
    return np.asarray(group["0"][:]), np.asarray(group["probabilities/0"][:])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("mark", "voxel_nm"),
    [
        (np.nan, (40, 4, 4)),
        (np.inf, (40, 4, 4)),
        (-3.4e38, (40, 4, 4)),
        (1e300, (40, 4, 4)),
        (np.nan, (40, 5, 5)),
        (1e300, (40, 5, 5)),
    ],
)
def test_voxels_without_a_grey_value_count_as_the_mean(
    mark: float, voxel_nm: tuple[float, float, float], task: SegmentOrder
) -> None:
    task = replace(task, voxel_nm=voxel_nm)
    image = picture((6, 150, 90), seed=3)[0].astype(np.float64)
    holed = image.copy()
    holed[_HOLE] = mark
    labels_ZYX, probability_KZYX = _segmented(task, holed, "holed")
    known_ZYX, known_KZYX = _segmented(task, image, "image")
    assert np.abs(probability_KZYX.astype(int).sum(0) - 255).max() <= 2
    np.testing.assert_array_equal(labels_ZYX[_BEYOND], known_ZYX[_BEYOND])
    np.testing.assert_array_equal(probability_KZYX[:, *_BEYOND], known_KZYX[:, *_BEYOND])
    if voxel_nm == (40, 4, 4):
        image[_HOLE] = read_card(Path(task.ensemble)).mean
        _, filled_KZYX = _segmented(task, image, "filled")
        np.testing.assert_array_equal(probability_KZYX, filled_KZYX)


def test_it_is_said_what_becomes_of_them(task: SegmentOrder, tmp_path: Path) -> None:
    assert notes_on(task) == []
    np.save(tmp_path / "float.npy", np.zeros((4, 30, 30), np.float32))
    (note,) = notes_on(replace(task, volume=str(tmp_path / "float.npy")))
    assert "float.npy holds floats: where one is not finite" in note
