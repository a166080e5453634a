"""Families of trees ready to use: where a draw starts, and what may be drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2

from emsearch.errors import SpecError
from emsearch.trees.grow import Sketch
from emsearch.trees.ranges import Range, amounts, choices
from emsearch.trees.settings import Value

__all__ = ["FAMILIES", "Family", "find_family", "thin_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Trees that are drawn alike."""

    about: str
    start: Callable[[float], Sketch]
    """From the aspect of a voxel, z over y and x, to what every tree of the family starts as."""
    ranges: tuple[Range, ...]
    is_deep: bool = False
    """Whether each tree must look along z, also where voxels are long in z."""


_WIDTH_BELOW = [(0, 0), (-8, 8), (-6, 6), (-4, 4)]
_SHAPE = (
    amounts("width", (8, 64), _WIDTH_BELOW, [1.0, 0.0, 0.3, 0.2, 0.1]),
    amounts("levels", (1, 4)),
    amounts("convolutions", (1, 3), [(0, 0), (-1, 1)], [1.0, 0.0, 0.3, 0.3, 0.0]),
    amounts("growth", (1.4, 2.0)),
)
_LEAVES = (
    choices("kernel", (3, 5), [0.3, 0.0, 0.1, 0.1, 0.05]),
    choices("activation", ("relu", "leaky_relu", "elu"), [1.0, 0.0]),
    # Fixed at inference: with instance or group normalisation a voxel depends on its whole tile.
    choices("normalisation", ("batch",), [0.0]),
)
_EDGES = (
    choices("pool", ("max", "average", "strided"), [1.0, 0.0, 0.0, 0.1]),
    choices("upsample", ("transposed", "interpolated"), [1.0, 0.0, 0.0, 0.1]),
    choices("skip", ("merge", "residual"), [1.0, 0.0]),
)
_BOTTOM = (
    choices("bottom", ("block", "dilated_block", "atrous_pyramid"), [0.4, 0.0]),
    amounts("blocks", (2, 4)),
    amounts("paths", (2, 4)),
    choices("combine", ("add", "merge")),
)
_DEPTH = (
    amounts("thin", (0, 9), [(-1, 1)], [0.0, 0.3, 0.3, 0.0]),
    amounts("mixed", (0, 2), rates=[0.5, 0.0]),
    choices("kernel_z", ("led", 3), [1.0, 0.0, 0.0, 0.2, 0.05]),
)
_HYBRID = (
    amounts("width", (8, 64), [(-16, 16), (0, 0), (-8, 8), (-6, 6), (-4, 4)], [1, 0.5, 0.0, 0.2]),
    amounts("levels", (2, 4)),
    amounts("convolutions", (1, 4), [(-1, 2), (0, 0), (-1, 1)], [1.0, 0.5, 0.0, 0.3, 0.3, 0.0]),
    amounts("growth", (1.4, 2.0)),
    amounts("mixed", (0, 2), rates=[0.5, 0.0]),
    amounts("paths", (1, 3)),
    choices("combine", ("add", "merge")),
    choices("carries", ("maps+features", "maps+image", "maps+features+image")),
    choices("form", ("plain", "residual"), [1.0, 0.3, 0.0, 0.0, 0.1]),
    choices("pool_z", ("never", "led"), [0.0, 0.0, 0.0, 0.2]),
    *_LEAVES,
    *_EDGES,
)
_CRF = (amounts("crf_iterations", (2, 5)), amounts("crf_radius", (2, 4)))


def _flat(**values: Value) -> Callable[[float], Sketch]:
    return lambda _aspect: Sketch(kind="network", values={"dimensions": 2, **values})


def _deep(**values: Value) -> Callable[[float], Sketch]:
    return lambda aspect: Sketch(
        kind="network", values={"dimensions": 3, "thin": thin_of(aspect), **values}
    )


def _hybrid(crf: str = "no", **values: Value) -> Callable[[float], Sketch]:
    planar = Sketch(kind="network", values={"kernel_z": 1, "pool_z": "never"})

    def start(aspect: float) -> Sketch:
        volumetric: dict[str, Value] = {
            "body": "pyramid",
            "kernel_z": 3,
            "crf": crf,
            "aspect": round(aspect, 2),
        }
        return Sketch(
            kind="hybrid",
            values={"dimensions": 3, "thin": thin_of(aspect), **values},
            inside={0: planar, 2: Sketch(kind="network", values=volumetric)},
        )

    return start


def thin_of(aspect: float) -> int:
    """Return how many halvings in y and x it takes until voxels are as long there as in z."""
    return max(0, round(log2(aspect)))


FAMILIES: dict[str, Family] = {
    "encoder_decoder_2d": Family(
        about="encoder-decoders over single sections, plain or residual",
        start=_flat(),
        ranges=(*_SHAPE, choices("form", ("plain", "residual"), [1, 0, 0.2]), *_LEAVES, *_EDGES),
    ),
    "residual_2d": Family(
        about="residual encoder-decoders over single sections, with dilated bottoms",
        start=_flat(form="residual"),
        ranges=(*_SHAPE, *_BOTTOM, *_LEAVES, *_EDGES),
    ),
    "dense_2d": Family(
        about="densely joined encoder-decoders over single sections",
        start=_flat(form="dense"),
        ranges=(
            *_SHAPE,
            amounts("convolutions", (2, 6), [(0, 0), (-2, 2)], [1.0, 0.0, 0.3, 0.3, 0.0]),
            *_LEAVES,
            *_EDGES,
        ),
    ),
    "dilated_2d": Family(
        about="dilated blocks or atrous pyramids at full resolution, over single sections",
        start=_flat(body="dilated_block"),
        ranges=(
            amounts("width", (8, 64), [(0, 0), (-8, 8), (-6, 6)], [1.0, 0.0, 0.3, 0.1]),
            amounts("convolutions", (1, 4), [(0, 0), (-1, 1)], [1.0, 0.0, 0.3, 0.0]),
            amounts("dilation", (1, 2), [(0, 0), (0, 1)], [0.3, 0.0, 0.1]),
            choices("body", ("dilated_block", "atrous_pyramid")),
            choices("form", ("plain", "residual"), [1.0, 0.0, 0.2]),
            choices("share", ("no", "yes"), [0.2, 0.0]),
            *_BOTTOM[1:],
            *_LEAVES,
        ),
    ),
    "encoder_decoder_3d": Family(
        about="encoder-decoders over volumes; voxels longer in z leave z alone at first",
        start=_deep(width=16),
        is_deep=True,
        ranges=(
            *_SHAPE,
            choices("form", ("plain", "residual"), [1.0, 0.0, 0.2]),
            *_DEPTH,
            choices("pool_z", ("never", "led", "always"), [0.0, 0.0, 0.0, 0.1]),
            *_LEAVES,
            *_EDGES,
        ),
    ),
    "thin_3d": Family(
        about="encoder-decoders over few sections: z is never pooled",
        start=_deep(width=16, pool_z="never"),
        is_deep=True,
        ranges=(
            *_SHAPE,
            choices("form", ("plain", "residual"), [1.0, 0.0, 0.2]),
            *_DEPTH,
            *_LEAVES,
            *_EDGES,
        ),
    ),
    "hybrid_2d3d": Family(
        about="a 2-D encoder-decoder that feeds a 3-D pyramid, trained end to end",
        start=_hybrid(),
        ranges=(*_HYBRID, amounts("auxiliary", (0.1, 0.5))),
    ),
    "hybrid_2d3d_cascade": Family(
        about="the same in two stages: the 3-D pyramid learns from finished 2-D predictions",
        start=_hybrid(coupling="cascade", auxiliary=1.0),
        ranges=_HYBRID,
    ),
    "hybrid_2d3d_crf": Family(
        about="a hybrid end to end whose output a CRF-RNN refines",
        start=_hybrid(crf="yes"),
        ranges=(*_HYBRID, amounts("auxiliary", (0.1, 0.5)), *_CRF),
    ),
}


def find_family(name: str) -> Family:
    """Return the family called `name`. Raises SpecError that lists those there are."""
    if name not in FAMILIES:
        raise SpecError(f"no family {name!r}; known families: {', '.join(FAMILIES)}")
    return FAMILIES[name]
