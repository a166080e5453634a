import subprocess
from pathlib import Path
from typing import Any

import pytest

from emsearch.ensembles.neuroglancer import how_to_serve, neuroglancer_state, why_not
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
    assert "neuroglancer reads Zarr alone" in why_not(labels, tmp_path / "image.tif")
    state = neuroglancer_state(labels, tmp_path / "image.tif", "http://localhost:8000")
    assert [layer["type"] for layer in state["layers"]] == ["segmentation"]


def test_an_image_deeper_in_the_served_folder_is_found_there(
    labels: Labelled, tmp_path: Path
) -> None:
    create_pyramid(tmp_path / "my data" / "image.zarr", (20, 300, 200), (40, 4, 5), ())
    image = tmp_path / "my data" / "image.zarr"
    assert why_not(labels, image) == ""
    (layer, _) = neuroglancer_state(labels, image, "http://localhost:8000/")["layers"]
    assert layer["source"] == "zarr://http://localhost:8000/my%20data/image.zarr/"


def test_an_image_from_elsewhere_is_left_out_until_it_is_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b").mkdir()
    create_pyramid(tmp_path / "a b" / "labels.zarr", (20, 300, 200), (40, 4, 5), ("out", "cell"))
    create_pyramid(tmp_path / "image.zarr", (20, 300, 200), (40, 4, 5), ())
    monkeypatch.chdir(tmp_path / "a b")
    labels = open_labels(Path("labels.zarr"))
    why = why_not(labels, Path("../image.zarr"))
    assert "it does not lie in" in why
    state = neuroglancer_state(labels, Path("../image.zarr"), "http://localhost:8000")
    assert [layer["type"] for layer in state["layers"]] == ["segmentation"]
    subprocess.run(why.partition("link it there: ")[2], shell=True, check=True)  # noqa: S602
    assert why_not(labels, Path("image.zarr")) == ""


def test_the_command_that_is_told_serves_what_the_state_names(labels: Labelled) -> None:
    folder = labels.folder.parent
    said = how_to_serve(labels, "http://localhost:9001")
    assert f"Serve {folder} at http://localhost:9001," in said
    assert f"npx http-server {folder} --cors -p 9001;" in said
    said = how_to_serve(labels, "https://data.example.org/em")
    assert f"Serve {folder} at https://data.example.org/em, with CORS allowed;" in said
