from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsearch.errors import NotFoundError
from emsearch.records.dataset import VolumeRecord
from emsearch.records.score import Split
from emsearch.volumes.dataset import IGNORE, mirrored, open_volume, split_region

Pair = tuple[np.ndarray, np.ndarray]


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(-30, 20), st.integers(1, 25))
def test_beyond_its_border_an_array_is_mirrored_as_numpy_pads(
    size: int, first: int, length: int
) -> None:
    row = np.arange(size)
    before, after = max(-first, 0), max(first + length - size, 0)
    padded = np.pad(row, (before, after), mode="reflect" if size > 1 else "edge")
    seen = mirrored(row[None, None], ((0, 1), (0, 1), (first, first + length)))
    assert seen[0, 0].tolist() == padded[before + first : before + first + length].tolist()


def test_an_image_is_read_normalised(record: VolumeRecord, cells: Pair, tmp_path: Path) -> None:
    volume = open_volume(record, tmp_path)
    region = ((2, 5), (10, 40), (-3, 8))
    expected = (mirrored(cells[0], region) - record.mean) / record.std
    seen = volume.read_image(region)
    assert seen.dtype == np.float32
    assert np.allclose(seen, expected, atol=1e-5)
    assert (volume.in_memory().read_image(region) == seen).all()


def test_labels_beyond_the_volume_are_ignored(
    record: VolumeRecord, cells: Pair, tmp_path: Path
) -> None:
    seen = open_volume(record, tmp_path).read_labels(((-1, 2), (90, 100), (0, 4)))
    assert seen.dtype == np.int16
    assert (seen[0] == IGNORE).all()
    assert (seen[1:, 6:] == IGNORE).all()
    assert (seen[1:, :6] == cells[1][:2, 90:, :4]).all()


def test_a_region_far_outside_holds_no_label(record: VolumeRecord, tmp_path: Path) -> None:
    volume = open_volume(record, tmp_path)
    assert (volume.read_labels(((50, 52), (0, 4), (0, 4))) == IGNORE).all()


def test_a_split_is_its_slices(record: VolumeRecord) -> None:
    assert split_region(record, Split.VALIDATION) == ((6, 8), (0, 96), (0, 96))
    assert split_region(replace(record, test=None), Split.TEST) is None


def test_a_volume_that_is_not_there_is_named(record: VolumeRecord, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no volume at .*gone\.zarr; import 'cells' again"):
        open_volume(replace(record, zarr="gone.zarr"), tmp_path)
