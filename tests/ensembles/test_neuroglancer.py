from pathlib import Path
from typing import Any

import pytest

from emsearch.ensembles.neuroglancer import is_readable, neuroglancer_state
from emsearch.inference.labelled import Labelled, open_labels
from emsearch.inference.pyramid import create_pyramid


@pytest.fixture
def labels(tmp_path: Path) -> Labelled:
    create_pyramid(tmp_path / "labels.zarr", (20, 300, 200), (40, 4, 5), ("out", "cell", "spot"))
    return open_labels(tmp_path / "labels.zarr")


def test_a_state_is_as_documented(labels: Labelled, tmp_path: Path) -> None:
    create_pyramid(tmp_path / "image.zarr", (20, 300, 200), (40, 4, 5), ())
    state: Any = neuroglancer_state(labels, tmp_path / "image.zarr", "http://localhost:8000")
    assert list(state["dimensions"]) == ["x", "y", "z"]  # the first one points to the right
    assert [size for size, _ in state["dimensions"].values()] == pytest.approx([5e-9, 4e-9, 4e-8])
    assert {unit for _, unit in state["dimensions"].values()} == {"m"}
    assert state["position"] == [100, 150, 10]
    assert state["layout"] == "4panel"
    image, segmentation = state["layers"]
    source = "zarr://http://localhost:8000/image.zarr/"
    assert image == {"type": "image", "name": "image", "source": source}
    assert segmentation["type"] == "segmentation"
    assert segmentation["source"] == "zarr://http://localhost:8000/labels.zarr/"
    assert segmentation["segments"] == ["1", "2"]
    assert segmentation["segmentColors"] == {"1": "#e69f00", "2": "#56b4e9"}


def test_an_image_that_is_no_zarr_is_left_out(labels: Labelled, tmp_path: Path) -> None:
    (tmp_path / "image.tif").write_bytes(b"")
    assert not is_readable(tmp_path / "image.tif")
    state = neuroglancer_state(labels, tmp_path / "image.tif", "http://localhost:8000")
    assert [layer["type"] for layer in state["layers"]] == ["segmentation"]
