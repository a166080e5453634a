"""Images that a page holds in itself, as data URIs."""

import base64
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from emsearch.ensembles.overlay import PALETTE
from emsearch.ledger import listings
from emsearch.trees.draw import to_svg
from emsearch.trees.node import Tree

__all__ = ["Picture", "caption", "class_colours", "drawing", "overlay_paths", "overlays"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An image held in the page itself."""

    name: str
    uri: str


def class_colours(classes: int) -> tuple[str, ...]:
    """Return the colours that overlays paint the classes in, from the second class on."""
    painted = len(PALETTE) - 1
    colours = (PALETTE[number % painted + 1] for number in range(classes - 1))
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours)


def drawing(tree: Tree) -> Picture:
    """Return a picture of a tree."""
    svg = to_svg(tree, None)
    return Picture(name=f"tree {tree.digest()}", uri=_uri("image/svg+xml", svg.encode()))


def overlays(connection: Connection, study_id: int, folder: Path) -> tuple[Picture, ...]:
    """Return the pictures that the last selection of an ensemble drew, where they still are."""
    return tuple(
        Picture(name=caption(path.stem), uri=_uri("image/png", path.read_bytes()))
        for path in overlay_paths(connection, study_id, folder)
    )


def caption(stem: str) -> str:
    """Return what an overlay shows, by its file's name without the ending."""
    place, is_worst, _ = stem.partition("-worst")
    return f"{place}, where the ensemble is wrong most" if is_worst else place


def overlay_paths(connection: Connection, study_id: int, folder: Path) -> list[Path]:
    """Return the files of the same; one outside the study's folder is left out."""
    results = listings.order_results(connection, study_id, "ensemble")
    paths = [folder / name for name in results[-1].get("overlays", ())] if results else []
    root = folder.resolve()
    return [
        path
        for path in paths
        if path.suffix == ".png" and path.resolve().is_relative_to(root) and path.is_file()
    ]


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
