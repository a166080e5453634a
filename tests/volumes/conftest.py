"""A small study with a phantom in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from emsearch.records.dataset import Dataset, VolumeRecord
from emsearch.records.order import ImportOrder
from emsearch.volumes.importing import import_volume
from emsearch.volumes.phantom import CLASSES, VOXEL_NM, phantom

DATA = Path(__file__).parents[2].parent / "shared" / "data"

MakeOrder = Callable[..., ImportOrder]


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no real volumes at {DATA}")
    return DATA


@pytest.fixture
def order_of(tmp_path: Path) -> MakeOrder:
    """Saves image and labels as TIFF and returns an order to import them."""

    def make(image: np.ndarray, labels: np.ndarray, **changes: Any) -> ImportOrder:
        tifffile.imwrite(tmp_path / "image.tif", image, photometric="minisblack")
        tifffile.imwrite(tmp_path / "labels.tif", labels, photometric="minisblack")
        usual: dict[str, Any] = {
            "name": "cells",
            "image": str(tmp_path / "image.tif"),
            "labels": str(tmp_path / "labels.tif"),
            "classes": CLASSES,
            "voxel_nm": VOXEL_NM,
        }
        return ImportOrder(**{**usual, **changes})

    return make


@pytest.fixture(scope="session")
def cells() -> tuple[np.ndarray, np.ndarray]:
    return phantom((10, 96, 96), seed=4)


@pytest.fixture
def order(order_of: MakeOrder, cells: tuple[np.ndarray, np.ndarray]) -> ImportOrder:
    return order_of(*cells, train=(0, 6), validation=(6, 8), test=(8, 10))


@pytest.fixture
def record(order: ImportOrder, tmp_path: Path) -> VolumeRecord:
    return import_volume(order, tmp_path, tmp_path / "volumes" / "cells.zarr")


@pytest.fixture
def dataset(record: VolumeRecord) -> Dataset:
    return Dataset(classes=CLASSES, volumes=(record,))
