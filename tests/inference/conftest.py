from collections.abc import Callable
from pathlib import Path

import pytest
import tifffile

from emsearch.inference import output
from emsearch.records.order import SegmentOrder
from tests.support.ensembles import make_ensemble
from tests.support.trials import picture

SHAPE = (20, 150, 90)


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of two small 2-D networks."""
    return make_ensemble(tmp_path_factory.mktemp("study"))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    image, _ = picture(SHAPE, seed=3)
    tifffile.imwrite(tmp_path / "image.tif", image, compression="deflate")
    return tmp_path / "image.tif"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a small volume has several, each predicted in several parts."""
    monkeypatch.setattr(output, "WRITTEN", (16, 128, 64))
    monkeypatch.setattr(
        "emsearch.inference.committee.Committee.block_zyx", lambda _self, _volume: (3, 64, 64)
    )


@pytest.fixture
def task(ensemble: Path, volume: Path, tmp_path: Path) -> SegmentOrder:
    return SegmentOrder(
        ensemble=str(ensemble),
        volume=str(volume),
        out=str(tmp_path / "out.zarr"),
        device="cpu",
        voxel_nm=(40, 4, 4),
    )


def nothing(_done: int, _of: int) -> None:
    """Tell nobody."""


@pytest.fixture
def silent() -> Callable[[int, int], None]:
    return nothing
