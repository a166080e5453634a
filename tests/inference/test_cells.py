"""What intervals are drawn from: each voxel in one cell, cells as deep as they are wide."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsearch.inference.box import Box, Shape, split_box
from emsearch.inference.cells import Cells, cells_of
from emsearch.inference.part import Part, parts_of
from emsearch.records.score import Split
from tests.support.trials import make_study

Voxel = tuple[float, float, float]


@pytest.fixture
def part(tmp_path: Path) -> Part:
    """A part of a real volume; tests give it other sizes."""
    return parts_of(make_study(tmp_path), tmp_path, Split.VALIDATION)[0]


def sized(part: Part, start: int, shape: Shape, voxel_nm: Voxel) -> Part:
    record = replace(part.volume.record, voxel_nm=voxel_nm)
    region = Box(start_zyx=(start, 0, 0), stop_zyx=(start + shape[0], *shape[1:]))
    return replace(part, volume=replace(part.volume, record=record), region=region)


@pytest.mark.parametrize("block", [(3, 100, 70), (100, 1000, 1000), (1, 33, 512)])
def test_each_voxel_is_in_one_cell_however_blocks_lie(part: Part, block: Shape) -> None:
    part = sized(part, 5, (20, 300, 410), (30, 5, 5))
    cells = cells_of([part])
    owner = np.full(part.region.shape_zyx, -1)
    numbers: dict[tuple[int, ...], int] = {}
    for box in split_box(part.region, block):
        for cell, inside in cells.cut(part, box):
            place = inside.slices(part.region.start_zyx)
            assert (owner[place] == -1).all()
            owner[place] = numbers.setdefault(cell, len(numbers))
    assert (owner >= 0).all()
    assert len(numbers) == len(cells)
    for number in numbers.values():  # a cell is a box
        places = np.argwhere(owner == number)
        assert len(places) == np.prod(np.ptp(places, axis=0) + 1)


def test_sections_that_show_the_same_objects_are_one_cell(part: Part) -> None:
    thick = sized(part, 16, (4, 1024, 1024), (50, 4.6, 4.6))
    assert len(cells_of([thick])) == 64
    thin = sized(part, 0, (32, 384, 512), (5, 5, 5))
    assert {cell[1] for cell, _ in cells_of([thin]).cut(thin, thin.region)} == {0}


def test_deep_volumes_have_cells_one_above_the_other(part: Part) -> None:
    deep = sized(part, 0, (512, 512, 512), (5, 5, 5))
    assert len(Cells(parts=(deep,), width_vx=128)) == 64


def test_a_small_split_has_narrower_cells(part: Part) -> None:
    small = sized(part, 0, (2, 96, 96), (40, 4, 4))
    assert len(cells_of([small])) >= 16


def test_parts_have_cells_of_their_own(part: Part) -> None:
    one, two = (sized(part, 0, (4, 256, 256), (50, 5, 5)) for _ in range(2))
    cells = cells_of([one, two])
    ours, theirs = ({cell for cell, _ in cells.cut(each, each.region)} for each in (one, two))
    assert not ours & theirs
