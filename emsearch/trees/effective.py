"""The effective, canonical form of a tree: what its deltas come to.

Networks, arithmetic, pictures and digests are all made from it, so that two ways to write one
network are one network. It works on anything with a kind, deltas and children.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple, Protocol

from emsearch.errors import SpecError
from emsearch.trees.kinds import find_kind
from emsearch.trees.plan import Plan, width_of
from emsearch.trees.settings import Inherited, Number

__all__ = ["check_structure", "effective"]

Zyx = tuple[int, int, int]


class Branch(Protocol):
    """A node and what is below it."""

    @property
    def kind(self) -> str:
        """Its kind."""
        ...

    @property
    def deltas(self) -> tuple[tuple[str, Number], ...]:
        """What it adds to what it inherits."""
        ...

    @property
    def children(self) -> "Sequence[Branch]":
        """What is inside."""
        ...


class Place(NamedTuple):
    """What a module's place decides about it, beside inherited settings."""

    scale: int = 0
    """Halvings of the resolution so far."""
    spacing: int = 1
    """Factor on dilations."""
    part: int = 1
    """What the width is divided by."""
    factors: tuple[Zyx, ...] = ()
    """By how much an encoder has divided the resolution, step by step."""
    is_opening: bool = False
    """Whether it is the 3x3x3 convolution at the start of a mixed block."""


Resolver = Callable[[Branch, Inherited, Place], Plan]


def effective(root: Branch) -> Plan:
    """Return what a tree comes to. Raises SpecError for unknown kinds and settings."""
    return _resolve(root, Inherited.defaults(), Place())


def check_structure(node: Branch, inherited: Inherited) -> None:
    """Raise SpecError where kinds, settings or children are not what the catalogue allows."""
    kind = find_kind(node.kind)
    for name, _ in node.deltas:
        if name not in kind.accepts:
            allowed = ", ".join(sorted(kind.accepts)) or "none"
            raise SpecError(f"a {node.kind} has no setting {name!r}; allowed: {allowed}")
    here = inherited.below(node.deltas)
    kinds = tuple(child.kind for child in node.children)
    wanted = kind.inside(here.values)
    if kinds != wanted:
        raise SpecError(f"a {node.kind} with these settings holds {wanted}, got {kinds}")
    for child in node.children:
        check_structure(child, here)


def _resolve(node: Branch, inherited: Inherited, place: Place) -> Plan:
    if node.kind not in _RESOLVERS:
        find_kind(node.kind)  # raises, and says which kinds there are
    here = inherited.below(node.deltas) if node.deltas else inherited
    return _RESOLVERS[node.kind](node, here, place)


def _resolve_all(nodes: Sequence[Branch], inherited: Inherited, place: Place) -> list[Plan]:
    """Return the plans of nodes in one place: those of a kind that set nothing come to one."""
    plans: list[Plan] = []
    bare: dict[str, Plan] = {}
    for node in nodes:
        if node.deltas or node.children:
            plans.append(_resolve(node, inherited, place))
            continue
        if node.kind not in bare:
            bare[node.kind] = _resolve(node, inherited, place)
        plans.append(bare[node.kind])
    return plans


def _width(values: dict[str, Any], place: Place) -> int:
    full = round(float(values["width"] * values["growth"] ** place.scale))
    return max(1, ceil(min(full, int(values["widest"])) / place.part))


def _kernel(values: dict[str, Any], place: Place) -> Zyx:
    if place.is_opening:
        return (1 if values["dimensions"] == 2 else 3, 3, 3)
    z, y, x = values["kernel_z"], values["kernel"], values["kernel_x"]
    x = y if x == "same" else x
    if z == "led":
        z = 1 if y == x == 1 or place.scale < values["thin"] else 3
    return (1 if values["dimensions"] == 2 else z, y, x)


def _convolution(_node: Branch, here: Inherited, place: Place) -> Plan:
    values = here.values
    kernel_zyx = _kernel(values, place)
    spacing = 1 if place.is_opening else values["dilation"] * place.spacing
    settings = (
        ("width", _width(values, place)),
        ("kernel_zyx", kernel_zyx),
        ("dilation_zyx", tuple(spacing if size > 1 else 1 for size in kernel_zyx)),
        ("normalisation", values["normalisation"]),
        ("activation", values["activation"]),
    )
    return Plan("convolution", settings)


def _block(node: Branch, here: Inherited, place: Place) -> Plan:
    values = here.values
    is_mixed = node.kind == "mixed_block"
    if values["form"] == "dense":
        place = place._replace(part=values["convolutions"])
    children = _resolve_all(node.children, here, place)
    if is_mixed:
        opening = place._replace(is_opening=True, part=2)
        children[0] = _resolve(node.children[0], here, opening)
    if values["form"] == "residual":
        children[-2] = _without_activation(children[-2])
    return Plan(node.kind, (), tuple(children))


def _without_activation(plan: Plan) -> Plan:
    return Plan(plan.kind, (*plan.settings[:-1], ("activation", "identity")), plan.children)


def _dilated_block(node: Branch, here: Inherited, place: Place) -> Plan:
    children = tuple(
        _resolve(child, here, place._replace(spacing=place.spacing * 2**step))
        for step, child in enumerate(node.children)
    )
    return Plan("dilated_block", (), children)


def _atrous_pyramid(node: Branch, here: Inherited, place: Place) -> Plan:
    values = here.values
    children: Sequence[Branch] = node.children
    if values["share"] == "yes":
        children = [children[0]] * len(children)
    paths = [
        _resolve(child, here, place._replace(spacing=place.spacing * 2**step))
        for step, child in enumerate(children)
    ]
    if values["combine"] == "add":
        widest = max(width_of(path) for path in paths)
        paths = [_widened(path, widest, values) for path in paths]
    settings = (("combine", values["combine"]), ("share", values["share"]))
    # Paths commute: their order must not tell two trees apart.
    return Plan(
        "atrous_pyramid", settings if len(paths) > 1 else (), tuple(sorted(paths, key=repr))
    )


def _widened(path: Plan, width: int, values: dict[str, Any]) -> Plan:
    """Return the path with a 1x1x1 convolution at its end where it gives less than `width`."""
    if width_of(path) == width:
        return path
    return Plan("block", (), (path, _pointwise(width, values)))


def _pointwise(width: int, values: dict[str, Any]) -> Plan:
    settings = (
        ("width", width),
        ("kernel_zyx", (1, 1, 1)),
        ("dilation_zyx", (1, 1, 1)),
        ("normalisation", values["normalisation"]),
        ("activation", values["activation"]),
    )
    return Plan("convolution", settings)


def _factor(values: dict[str, Any], scale: int) -> Zyx:
    is_led = values["pool_z"] == "led" and scale >= values["thin"]
    pools_z = values["dimensions"] == 3 and (is_led or values["pool_z"] == "always")
    return (2 if pools_z else 1, 2, 2)


def _down(_node: Branch, here: Inherited, place: Place) -> Plan:
    factor = _factor(here.values, place.scale)
    return Plan("down", (("pool", here.values["pool"]), ("factor_zyx", factor)))


def _up(_node: Branch, here: Inherited, place: Place) -> Plan:
    settings = (
        ("upsample", here.values["upsample"]),
        ("factor_zyx", place.factors[-1]),
        ("width", _width(here.values, place)),
    )
    return Plan("up", settings)


def _encoder(node: Branch, here: Inherited, place: Place) -> Plan:
    children: list[Plan] = []
    for scale in range(len(node.children) // 2):
        at = Place(scale, place.spacing, place.part, place.factors, place.is_opening)
        children += _resolve_all(node.children[2 * scale : 2 * scale + 2], here, at)
    return Plan("encoder", (), tuple(children))


def _decoder(node: Branch, here: Inherited, place: Place) -> Plan:
    levels = len(place.factors)
    bottom, *rises = node.children
    children = [_resolve(bottom, here, Place(scale=levels))]
    for first in range(0, len(rises), 3):
        scale = levels - 1 - first // 3
        at = Place(scale=scale, factors=place.factors[: scale + 1])
        children += _resolve_all(rises[first : first + 3], here, at)
    return Plan("decoder", (), tuple(children))


def _encoder_decoder(node: Branch, here: Inherited, place: Place) -> Plan:
    encoder = _resolve(node.children[0], here, place)
    factors = tuple(child.get("factor_zyx") for child in encoder.children[1::2])
    decoder = _resolve(node.children[1], here, place._replace(factors=factors))
    return Plan("encoder_decoder", (), (encoder, decoder))


def _pyramid(node: Branch, here: Inherited, place: Place) -> Plan:
    first, *rest = node.children
    children = [_resolve(first, here, place)]
    for path in range(1, len(rest) // 3 + 1):
        down, block, up = rest[3 * path - 3 : 3 * path]
        low = place._replace(scale=path)
        fallen = _fallen(_resolve(down, here, place), down, here, path)
        rises = place._replace(factors=(fallen.get("factor_zyx"),))
        risen = _risen(_resolve(up, here, rises), width_of(children[0]), here.values)
        children += [fallen, _resolve(block, here, low), risen]
    settings = (("combine", here.values["combine"]),)
    return Plan("pyramid", settings if len(children) > 1 else (), tuple(children))


def _fallen(plan: Plan, node: Branch, here: Inherited, path: int) -> Plan:
    """Return the edge down to a pyramid's path, which falls several steps at once."""
    values = here.below(node.deltas).values
    steps = [_factor(values, scale)[0] for scale in range(path)]
    factor = (2 ** steps.count(2), 2**path, 2**path)
    return plan._replace(settings=(("pool", plan.get("pool")), ("factor_zyx", factor)))


def _risen(plan: Plan, width: int, values: dict[str, Any]) -> Plan:
    """Return the edge up from a pyramid's path, which opens with a 1x1x1 convolution."""
    (upsample, factor_zyx, _) = plan.settings
    settings = (upsample, factor_zyx, ("width", width))
    return Plan("up", settings, (_pointwise(width, values),))


def _forward(_node: Branch, here: Inherited, _place: Place) -> Plan:
    dropout = here.values["dropout"]
    return Plan("forward", (("dropout", dropout),) if dropout else ())


def _residual(_node: Branch, here: Inherited, _place: Place) -> Plan:
    values = here.values
    settings = (
        ("normalisation", values["normalisation"]),
        ("activation", values["activation"]),
    )
    return Plan("residual", settings)


def _bare(node: Branch, _here: Inherited, _place: Place) -> Plan:
    return Plan(node.kind)


def _crf(_node: Branch, here: Inherited, _place: Place) -> Plan:
    values = here.values
    radius = values["crf_radius"]
    is_flat = values["dimensions"] == 2
    aspect = 1.0 if is_flat else values["aspect"]
    z = 0 if is_flat else max(1, round(radius / aspect))
    settings = (
        ("iterations", values["crf_iterations"]),
        ("radius_zyx", (z, radius, radius)),
        ("aspect", aspect),
    )
    return Plan("crf", settings)


def _network(node: Branch, here: Inherited, place: Place) -> Plan:
    children = tuple(_resolve(child, here, place) for child in node.children)
    dimensions = here.values["dimensions"]
    # A network that nowhere looks along z is the same as one that takes sections one by one.
    if dimensions == 3 and not any(_looks_along_z(child) for child in children):
        dimensions = 2
    return Plan("network", (("dimensions", dimensions),), children)


def _looks_along_z(plan: Plan) -> bool:
    for name, value in plan.settings:
        if name in {"kernel_zyx", "factor_zyx"} and value[0] > 1:
            return True
        if name == "radius_zyx" and value[0] > 0:
            return True
        if name == "normalisation" and value in {"instance", "group"}:
            return True
    return any(_looks_along_z(child) for child in plan.children)


def _hybrid(node: Branch, here: Inherited, place: Place) -> Plan:
    planar, merge, volumetric = node.children
    carries = here.below(merge.deltas).values["carries"]
    children = (
        _resolve(planar, here, place),
        Plan("merge", (("carries", carries),)),
        _resolve(volumetric, here, place),
    )
    settings = (
        ("coupling", here.values["coupling"]),
        ("auxiliary", here.values["auxiliary"]),
    )
    return Plan("hybrid", settings, children)


_RESOLVERS: dict[str, Resolver] = {
    "hybrid": _hybrid,
    "network": _network,
    "encoder_decoder": _encoder_decoder,
    "encoder": _encoder,
    "decoder": _decoder,
    "pyramid": _pyramid,
    "atrous_pyramid": _atrous_pyramid,
    "dilated_block": _dilated_block,
    "mixed_block": _block,
    "block": _block,
    "convolution": _convolution,
    "predictor": _bare,
    "crf": _crf,
    "forward": _forward,
    "residual": _residual,
    "merge": _bare,
    "down": _down,
    "up": _up,
}
