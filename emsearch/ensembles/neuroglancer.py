"""What neuroglancer is told to show: image and labels, in a state of its own format.

docs/json_schema/viewer_state.yml of https://github.com/google/neuroglancer describes it.
"""

import os
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import quote as quote_url
from urllib.parse import urlsplit

from emsearch.ensembles.overlay import colour_of
from emsearch.inference.labelled import Labelled

__all__ = ["how_to_serve", "neuroglancer_state", "why_not"]

_MARKS = ("zarr.json", ".zgroup", ".zarray")
"""Files that say that a folder is Zarr, of version 3 or 2."""
_LOCAL = ("localhost", "127.0.0.1")


def neuroglancer_state(labels: Labelled, image: Path | None, url: str) -> dict[str, Any]:
    """Return the state as JSON values.

    `url` is where the folder that the labels lie in is served, such as http://localhost:8000. An
    image that `why_not` has a word against is left out.
    """
    layers: list[dict[str, Any]] = []
    if image is not None and not why_not(labels, image):
        layers.append({"type": "image", "name": "image", "source": _source(url, labels, image)})
    painted = range(1, len(labels.classes))
    layers.append(
        {
            "type": "segmentation",
            "name": labels.folder.stem,
            "source": _source(url, labels, labels.folder),
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


def why_not(labels: Labelled, image: Path) -> str:
    """Return why neuroglancer cannot show an image beside its labels; nothing where it can."""
    if not any((image / mark).is_file() for mark in _MARKS):
        return f"{image} is left out: neuroglancer reads Zarr alone"
    served = _served(labels)
    if not _plain(image).is_relative_to(served):
        return (
            f"{image} is left out: it does not lie in {served}, the folder that is served; "
            f"link it there: ln -s {quote(str(_plain(image)))} {quote(str(served))}"
        )
    return ""


def how_to_serve(labels: Labelled, url: str) -> str:
    """Return what to tell users to do, so that `neuroglancer_state` finds its data at `url`."""
    served = _served(labels)
    parts = urlsplit(url)
    how = "with CORS allowed"
    if parts.hostname in _LOCAL and not parts.path.strip("/"):
        port = parts.port or 80
        how = f"such as with: npx http-server {quote(str(served))} --cors -p {port}"
    return (
        f"Serve {served} at {url}, {how}; then paste the state into neuroglancer's JSON editor "
        "(the {} button)."
    )


def _served(labels: Labelled) -> Path:
    return _plain(labels.folder).parent


def _plain(path: Path) -> Path:
    """Return where a path leads without following links: a server knows what it serves by those."""
    return Path(os.path.normpath(path.absolute()))


def _source(url: str, labels: Labelled, folder: Path) -> str:
    below = _plain(folder).relative_to(_served(labels)).as_posix()
    return f"zarr://{url.rstrip('/')}/{quote_url(below)}/"


def _hex(colour: tuple[int, int, int]) -> str:
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"
