"""The catalogue of kinds: what each module or edge is, what it may set, what it holds.

Edges are nodes as modules are: they join modules, and have settings of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emsearch.errors import SpecError

__all__ = ["EDGES", "KINDS", "Kind", "block_at", "find_kind"]

Values = Mapping[str, Any]
Inside = Callable[[Values], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What nodes of one kind have in common."""

    about: str
    accepts: frozenset[str]
    """Settings for which such a node may have a delta."""
    inside: Inside
    """From the settings at such a node to the kinds of its children, first to last."""

    @property
    def is_leaf(self) -> bool:
        """Whether it holds no children, whatever its settings are."""
        return self.inside is _nothing


def _nothing(_values: Values) -> tuple[str, ...]:
    return ()


def _block(values: Values) -> tuple[str, ...]:
    count = int(values["convolutions"])
    if values["form"] == "dense":
        return ("convolution", "merge") * count
    chain = ("convolution", *("forward", "convolution") * (count - 1))
    return (*chain, "residual") if values["form"] == "residual" else chain


def _mixed_block(values: Values) -> tuple[str, ...]:
    return ("convolution", "merge" if values["form"] == "dense" else "forward", *_block(values))


def _dilated_block(values: Values) -> tuple[str, ...]:
    return ("block",) * int(values["blocks"])


def block_at(scale: int, values: Values) -> str:
    """Return the kind of the block after `scale` halvings of the resolution."""
    return "mixed_block" if scale < values["mixed"] else "block"


def _encoder(values: Values) -> tuple[str, ...]:
    return tuple(
        kind for scale in range(values["levels"]) for kind in (block_at(scale, values), "down")
    )


def _decoder(values: Values) -> tuple[str, ...]:
    bottom, levels = values["bottom"], values["levels"]
    bottom = block_at(levels, values) if bottom == "block" else bottom
    rises = (("up", values["skip"], block_at(scale, values)) for scale in range(levels))
    return (bottom, *(kind for rise in reversed(list(rises)) for kind in rise))


def _encoder_decoder(_values: Values) -> tuple[str, ...]:
    return ("encoder", "decoder")


def _pyramid(values: Values) -> tuple[str, ...]:
    return ("block", *("down", "block", "up") * (values["paths"] - 1))


def _atrous_pyramid(values: Values) -> tuple[str, ...]:
    return ("block",) * int(values["paths"])


def _network(values: Values) -> tuple[str, ...]:
    crf = ("crf",) if values["crf"] == "yes" else ()
    return (values["body"], "predictor", *crf)


def _hybrid(_values: Values) -> tuple[str, ...]:
    return ("network", "merge", "network")


_KERNEL = frozenset({"kernel", "kernel_x", "kernel_z", "dilation"})
_CONVOLUTION = _KERNEL | {"width", "normalisation", "activation"}
_BLOCK = _CONVOLUTION | {"convolutions", "form", "dropout"}
_DOWN = frozenset({"pool", "pool_z"})
_UP = frozenset({"upsample", "width"})
_ATROUS = _BLOCK | {"paths", "combine", "share"}
_DILATED = _BLOCK | {"blocks"}
_ENCODER = _BLOCK | _DOWN
_DECODER = _BLOCK | _UP | _ATROUS | _DILATED | {"skip"}
_ENCODER_DECODER = _ENCODER | _DECODER | {"levels", "mixed", "bottom", "growth", "widest", "thin"}
_PYRAMID = _BLOCK | _DOWN | _UP | {"paths", "combine", "growth", "widest", "thin"}
_CRF = frozenset({"crf_iterations", "crf_radius", "aspect"})
_NETWORK = _ENCODER_DECODER | _PYRAMID | _CRF | {"dimensions", "body", "crf"}


def _kind(about: str, accepts: frozenset[str], inside: Inside = _nothing) -> Kind:
    return Kind(about=about, accepts=accepts, inside=inside)


KINDS: dict[str, Kind] = {
    "hybrid": _kind(
        "a 2-D stage whose output feeds a 3-D stage",
        _NETWORK | {"coupling", "auxiliary", "carries"},
        _hybrid,
    ),
    "network": _kind("a body, its predictor, perhaps a CRF-RNN", _NETWORK, _network),
    "encoder_decoder": _kind("an encoder and its decoder", _ENCODER_DECODER, _encoder_decoder),
    "encoder": _kind("blocks with falling resolution", _ENCODER, _encoder),
    "decoder": _kind("the coarsest module, then blocks with rising resolution", _DECODER, _decoder),
    "pyramid": _kind("parallel blocks at falling resolutions", _PYRAMID, _pyramid),
    "atrous_pyramid": _kind("parallel blocks at rising dilations", _ATROUS, _atrous_pyramid),
    "dilated_block": _kind("blocks with rising dilations", _DILATED, _dilated_block),
    "mixed_block": _kind("a block that opens with a 3x3x3 convolution", _BLOCK, _mixed_block),
    "block": _kind("convolutions joined by edges", _BLOCK, _block),
    "convolution": _kind("a convolution, normalised and activated", _CONVOLUTION),
    "predictor": _kind("a 1x1x1 convolution to the classes", frozenset()),
    "crf": _kind("mean-field iterations over a local window", _CRF),
    "forward": _kind("hands on what it gets", frozenset({"dropout"})),
    "residual": _kind("adds what two modules give", frozenset({"activation", "normalisation"})),
    "merge": _kind("concatenates what modules give", frozenset({"carries"})),
    "down": _kind("halves the resolution", _DOWN),
    "up": _kind("doubles the resolution", _UP),
}

EDGES = frozenset({"forward", "residual", "merge", "down", "up"})
"""The kinds that join modules."""


def find_kind(name: str) -> Kind:
    """Return the kind called `name`. Raises SpecError that lists those there are."""
    if name not in KINDS:
        raise SpecError(f"no kind {name!r}; known kinds: {', '.join(sorted(KINDS))}")
    return KINDS[name]
