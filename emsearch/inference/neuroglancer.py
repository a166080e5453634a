"""What neuroglancer is told to show: image and labels, in a state of its own format."""

from pathlib import Path
from typing import Any

from emsearch.inference.labelled import Labelled

__all__ = ["neuroglancer_state"]


def neuroglancer_state(labels: Labelled, image: Path | None, url: str) -> dict[str, Any]:
    """Return the state as JSON values.

    `url` is where the folder that holds `labels` and `image` is served, such as
    http://localhost:8000. An image that is no OME-Zarr is left out: neuroglancer cannot read it.
    """
    layers: list[dict[str, Any]] = []
    if image is not None and image.suffix == ".zarr":
        layers.append({"type": "image", "name": "image", "source": _source(url, image)})
    layers.append(
        {
            "type": "segmentation",
            "name": labels.folder.stem,
            "source": _source(url, labels.folder),
            "segments": [str(number) for number in range(1, len(labels.classes))],
            "selectedAlpha": 0.4,
        }
    )
    return {
        "dimensions": {
            axis: [size * 1e-9, "m"]
            for axis, size in zip(("z", "y", "x"), labels.voxel_nm, strict=True)
        },
        "position": [length / 2 for length in labels.shape],
        "layers": layers,
        "layout": "4panel",
    }


def _source(url: str, folder: Path) -> str:
    return f"{url.rstrip('/')}/{folder.name}/|zarr3:"
