"""What a tree costs and sees, without building it: equal to what the built network has."""

from dataclasses import dataclass
from math import lcm
from typing import Protocol

from emsearch.errors import SpecError
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan
from emsearch.trees.receptive import reach
from emsearch.trees.tally import FLOAT_BYTES, tally_of

__all__ = ["Facts", "Limits", "Target", "describe", "divisor", "facts_of", "memory_gb", "step_s"]

Zyx = tuple[int, int, int]
STATES = 4
"""Numbers kept for each weight in training: itself, its gradient and two moments of Adam."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a network is for: what goes in, what comes out."""

    channels: int = 1
    classes: int
    patch_zyx: Zyx
    batch_size: int = 1
    voxel_nm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Size of a voxel along z, y, x in nm."""

    @property
    def aspect(self) -> float:
        """Size of a voxel in z over its smaller size in y and x."""
        return self.voxel_nm[0] / min(self.voxel_nm[1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a network may cost, and the device that it is to run on."""

    max_parameters: int = 40_000_000
    max_memory_gb: float = 12.0
    """Largest predicted memory of a training step."""
    max_step_s: float | None = None
    """Longest predicted training step."""
    gflops: float = 10_000.0
    """Thousand million floating-point operations a second."""
    gbytes_s: float = 300.0
    """Thousand million bytes moved a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a network is and takes, for one target."""

    parameters: int
    layers: int
    """Convolutions, transposed and strided ones among them."""
    output_zyx: Zyx
    receptive_field_zyx: Zyx
    """Largest extent of the input that one output voxel depends on."""
    halo_zyx: Zyx
    """Farthest distance, in either direction, of an input voxel that an output voxel depends on."""
    flops: int
    """Of the forward pass of one patch; a multiply-add counts as two."""
    activation_bytes: int
    """What the forward pass of one patch keeps for the backward pass, in float32."""
    transient_bytes: int
    """What the backward pass of one patch needs at once on top of that."""
    divisor_zyx: Zyx
    """Sizes of inputs must be multiples of it."""
    sees_whole_tile: bool
    """Whether statistics of the whole tile enter each voxel, through instance or group norm."""

    def memory_gb(self, batch_size: int) -> float:
        """Return the predicted peak memory of a training step in GB."""
        return memory_gb(self, batch_size)

    def step_s(self, batch_size: int, limits: Limits) -> float:
        """Return the predicted seconds of a training step: forward once, backward twice that."""
        return step_s(self, batch_size, limits)


class Costs(Protocol):
    """What memory and time follow from."""

    @property
    def parameters(self) -> int:
        """Weights."""
        ...

    @property
    def flops(self) -> int:
        """Operations of the forward pass of one patch."""
        ...

    @property
    def activation_bytes(self) -> int:
        """What that keeps for the backward pass."""
        ...

    @property
    def transient_bytes(self) -> int:
        """What the backward pass needs at once on top."""
        ...


def memory_gb(costs: Costs, batch_size: int) -> float:
    """Return the predicted peak memory of a training step in GB."""
    patch_bytes = costs.activation_bytes + costs.transient_bytes
    return (STATES * FLOAT_BYTES * costs.parameters + batch_size * patch_bytes) / 1e9


def step_s(costs: Costs, batch_size: int, limits: Limits) -> float:
    """Return the predicted seconds of a training step: forward once, backward twice that."""
    compute_s = costs.flops / (limits.gflops * 1e9)
    moving_s = costs.activation_bytes / (limits.gbytes_s * 1e9)
    return 3 * batch_size * (compute_s + moving_s)


def describe(tree: Tree, target: Target) -> Facts:
    """Return what `tree` is and takes. Raises SpecError where the patch does not fit it."""
    return facts_of(tree.plan(), target)


def facts_of(plan: Plan, target: Target) -> Facts:
    """Return what a plan is and takes. Raises SpecError where the patch does not fit it."""
    tally = tally_of(plan, target.channels, target.classes, target.patch_zyx)
    step_zyx = divisor(plan)
    if any(size % step for size, step in zip(target.patch_zyx, step_zyx, strict=True)):
        raise SpecError(f"a patch of {target.patch_zyx} is no multiple of {step_zyx}; change it")
    seen = [reach(plan, axis, step_zyx[axis]) for axis in range(3)]
    return Facts(
        parameters=tally.parameters,
        layers=tally.layers,
        output_zyx=target.patch_zyx,
        receptive_field_zyx=(seen[0][0], seen[1][0], seen[2][0]),
        halo_zyx=(seen[0][1], seen[1][1], seen[2][1]),
        flops=tally.flops,
        activation_bytes=tally.activation_bytes,
        transient_bytes=tally.transient_bytes,
        divisor_zyx=step_zyx,
        sees_whole_tile=tally.sees_whole_tile,
    )


def divisor(plan: Plan) -> Zyx:
    """Return what the sizes of inputs must be multiples of."""
    z, y, x = 1, 1, 1
    for child in plan.children:
        if child.kind not in _SCALING:
            continue
        low_z, low_y, low_x = child.get("factor_zyx") if child.kind == "down" else divisor(child)
        if plan.kind == "encoder":  # it falls step after step
            z, y, x = z * low_z, y * low_y, x * low_x
        else:  # paths and stages stand side by side
            z, y, x = lcm(z, low_z), lcm(y, low_y), lcm(x, low_x)
    return z, y, x


_SCALING = frozenset({"hybrid", "network", "encoder_decoder", "encoder", "pyramid", "down"})
"""Kinds that lower the resolution, or hold some that do."""
