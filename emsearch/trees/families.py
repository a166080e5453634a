"""Families of trees ready to use: where a draw starts, and what may be drawn."""

from collections.abc import Callable
from dataclasses import dataclass

from emsearch.errors import SpecError
from emsearch.trees.grow import Sketch
from emsearch.trees.ranges import Range, amounts, choices

__all__ = ["FAMILIES", "Family", "find_family"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Trees that are drawn alike."""

    about: str
    start: Callable[[float], Sketch]
    """From the aspect of a voxel, z over y and x, to what every tree of the family starts as."""
    ranges: tuple[Range, ...]


_SHAPE = (
    amounts("width", (8, 64), [(0, 0), (-8, 8), (-6, 6), (-4, 4)], [1.0, 0.0, 0.3, 0.2, 0.1]),
    amounts("levels", (1, 4)),
    amounts("convolutions", (1, 3), [(0, 0), (-1, 1)], [1.0, 0.0, 0.3, 0.3, 0.0]),
    amounts("growth", (1.4, 2.0), [(0, 0)], [1.0, 0.0]),
)
_LEAVES = (
    choices("kernel", (3, 5), [0.3, 0.0, 0.1, 0.1, 0.05]),
    choices("activation", ("relu", "leaky_relu", "elu"), [1.0, 0.0]),
    choices("normalisation", ("batch",), [0.0]),
)
_EDGES = (
    choices("pool", ("max", "average", "strided"), [1.0, 0.0, 0.0, 0.1]),
    choices("upsample", ("transposed", "interpolated"), [1.0, 0.0, 0.0, 0.1]),
    choices("skip", ("merge", "residual"), [1.0, 0.0]),
)


def _flat(_aspect: float) -> Sketch:
    return Sketch(kind="network", values={"dimensions": 2})


FAMILIES: dict[str, Family] = {
    "encoder_decoder_2d": Family(
        about="encoder-decoders over single sections, plain or residual",
        start=_flat,
        ranges=(
            *_SHAPE,
            choices("form", ("plain", "residual"), [1.0, 0.0, 0.2]),
            *_LEAVES,
            *_EDGES,
        ),
    ),
}


def find_family(name: str) -> Family:
    """Return the family called `name`. Raises SpecError that lists those there are."""
    if name not in FAMILIES:
        raise SpecError(f"no family {name!r}; known families: {', '.join(FAMILIES)}")
    return FAMILIES[name]
