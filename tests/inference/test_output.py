"""What a segmentation's place may hold, by mistake or after damage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from re import escape

import numpy as np
import pytest
import zarr

from emsearch.errors import SpecError
from emsearch.inference.output import begin
from emsearch.records.order import SegmentOrder


def _a_file(out: Path) -> None:
    out.write_text("years of work")


def _an_array(out: Path) -> None:
    zarr.create_array(out, data=np.zeros((2, 3, 4), np.uint8))


@pytest.mark.parametrize("lay", [_a_file, _an_array])
def test_what_is_no_segmentation_is_named_and_left_alone(
    lay: Callable[[Path], None], task: SegmentOrder
) -> None:
    out = Path(task.out)
    lay(out)
    before = {path: path.read_bytes() for path in (out, *out.rglob("*")) if path.is_file()}
    with pytest.raises(SpecError, match=f"{escape(task.out)} .*choose another name"):
        begin(task)
    assert before
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "name", ["zarr.json", "0/zarr.json", "1/zarr.json", "probabilities/0/zarr.json"]
)
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_segmentation_whose_description_is_damaged_is_named_with_the_remedy(
    name: str, *, is_gone: bool, task: SegmentOrder, tmp_path: Path
) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((1, 300, 20), np.uint8))
    task = replace(task, volume=str(tmp_path / "wide.npy"), probabilities=True)
    begin(task)
    path = Path(task.out) / name
    path.write_bytes(path.read_bytes()[:40])
    if is_gone:
        path.unlink()
    with pytest.raises(SpecError, match=f"{escape(task.out)} .*remove the folder to begin anew"):
        begin(task)
