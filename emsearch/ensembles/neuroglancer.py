"""What neuroglancer is told to show: image and labels, in a state of its own format.

docs/json_schema/viewer_state.yml of https://github.com/google/neuroglancer describes it.
"""

from pathlib import Path
from typing import Any

from emsearch.ensembles.overlay import colour_of
from emsearch.inference.labelled import Labelled

__all__ = ["is_readable", "neuroglancer_state"]

_MARKS = ("zarr.json", ".zgroup", ".zarray")
"""Files that say that a folder is Zarr, of version 3 or 2."""


def neuroglancer_state(labels: Labelled, image: Path | None, url: str) -> dict[str, Any]:
    """Return the state as JSON values.

    `url` is where the folder that holds `labels` and `image` is served, such as
    http://localhost:8000. An image that is not `is_readable` is left out.
    """
    layers: list[dict[str, Any]] = []
    if image is not None and is_readable(image):
        layers.append({"type": "image", "name": "image", "source": _source(url, image)})
    painted = range(1, len(labels.classes))
    layers.append(
        {
            "type": "segmentation",
            "name": labels.folder.stem,
            "source": _source(url, labels.folder),
            "segments": [str(number) for number in painted],
            "segmentColors": {str(number): _hex(colour_of(number)) for number in painted},
            "selectedAlpha": 0.4,
        }
    )
    # The first dimension points to the right and the second down: x before y before z.
    sizes = dict(zip(("z", "y", "x"), labels.voxel_nm, strict=True))
    lengths = dict(zip(("z", "y", "x"), labels.shape, strict=True))
    return {
        "dimensions": {axis: [sizes[axis] * 1e-9, "m"] for axis in ("x", "y", "z")},
        "position": [lengths[axis] / 2 for axis in ("x", "y", "z")],
        "layers": layers,
        "layout": "4panel",
    }


def is_readable(image: Path) -> bool:
    """Return whether neuroglancer can read an image: it must be Zarr."""
    return any((image / mark).is_file() for mark in _MARKS)


def _source(url: str, folder: Path) -> str:
    return f"zarr://{url.rstrip('/')}/{folder.resolve().name}/"


def _hex(colour: tuple[int, int, int]) -> str:
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"
