"""A walk through a plan that counts parameters, operations and memory, module by module.

Sizes are in voxels, z y x; counts are for one patch. The walk mirrors the builders of
`emsearch.networks`: what one builds, the other counts.
"""

from collections.abc import Callable, Sequence
from math import prod

from emsearch.trees.plan import Plan

__all__ = ["FLOAT_BYTES", "Tally", "tally_of"]

FLOAT_BYTES = 4
CRF_KEPT = 4
"""Numbers kept by a CRF-RNN for each class, voxel and iteration."""
Zyx = tuple[int, int, int]


class Tally:
    """Running totals of a walk through a plan."""

    __slots__ = ("flops", "kept", "largest", "layers", "parameters", "scales", "sees_whole_tile")

    def __init__(self) -> None:
        self.parameters = 0
        self.scales = 0
        """Those of the parameters that belong to normalisations."""
        self.layers = 0
        self.flops = 0
        self.kept = 0
        """Numbers kept for the backward pass."""
        self.largest = 0
        """Most numbers that one layer gives."""
        self.sees_whole_tile = False

    @property
    def activation_bytes(self) -> int:
        """What the forward pass keeps for the backward pass, in float32."""
        return FLOAT_BYTES * self.kept

    @property
    def transient_bytes(self) -> int:
        """What the backward pass needs at once on top of that: gradients of in- and output."""
        return 2 * FLOAT_BYTES * self.largest

    def convolve(self, taps: int, channels: int, width: int, voxels: int, *, bias: bool) -> None:
        """Count a convolution whose kernel of `taps` voxels is applied at `voxels` places."""
        weights = taps * channels * width
        self.parameters += weights + (width if bias else 0)
        self.layers += 1
        self.flops += 2 * weights * voxels

    def normalise(self, name: str, width: int, voxels: int) -> None:
        """Count a normalisation, which keeps what it is given."""
        if name != "none":
            self.parameters += 2 * width
            self.scales += 2 * width
            self.kept += width * voxels
            self.sees_whole_tile |= name in {"instance", "group"}

    def activate(self, name: str, width: int, voxels: int) -> None:
        """Count an activation; those that cannot work in place keep their input, too."""
        if name != "identity":
            self.keep((2 if name in {"silu", "gelu"} else 1) * width * voxels)

    def keep(self, numbers: int) -> None:
        """Count numbers kept for the backward pass."""
        self.kept += numbers
        self.largest = max(self.largest, numbers)


def tally_of(plan: Plan, channels: int, classes: int, patch_zyx: Zyx) -> Tally:
    """Return the counts of a plan for one patch."""
    tally = Tally()
    tally.keep(channels * prod(patch_zyx))
    _Walk(tally, classes).count(plan, channels, patch_zyx)
    return tally


def _lowered(size_zyx: Zyx, factor_zyx: Zyx) -> Zyx:
    z, y, x = size_zyx
    return z // factor_zyx[0], y // factor_zyx[1], x // factor_zyx[2]


class _Walk:
    """Counts each module, given its channels and its input's size; returns its channels."""

    def __init__(self, tally: Tally, classes: int) -> None:
        self.tally = tally
        self.classes = classes
        self.counters: dict[str, Callable[[Plan, int, Zyx], int]] = {
            "hybrid": self._hybrid,
            "network": self._chain,
            "encoder_decoder": self._encoder_decoder,
            "pyramid": self._pyramid,
            "atrous_pyramid": self._atrous_pyramid,
            "dilated_block": self._chain,
            "mixed_block": self._block,
            "block": self._block,
            "convolution": self._convolution,
            "predictor": self._predictor,
            "crf": self._crf,
            "forward": self._forward,
            "down": self._down,
        }

    def count(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        return self.counters[plan.kind](plan, channels, size_zyx)

    def _chain(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        return self._through(plan.children, channels, size_zyx)

    def _through(self, plans: Sequence[Plan], channels: int, size_zyx: Zyx) -> int:
        for plan in plans:
            channels = self.counters[plan.kind](plan, channels, size_zyx)
        return channels

    def _convolution(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        (_, width), (_, kernel_zyx), _, (_, norm), (_, activation) = plan.settings
        voxels = prod(size_zyx)
        self.tally.convolve(prod(kernel_zyx), channels, width, voxels, bias=norm == "none")
        self.tally.normalise(norm, width, voxels)
        self.tally.activate(activation, width, voxels)
        return int(width)

    def _predictor(self, _plan: Plan, channels: int, size_zyx: Zyx) -> int:
        voxels = prod(size_zyx)
        self.tally.convolve(1, channels, self.classes, voxels, bias=True)
        self.tally.keep(self.classes * voxels)
        return self.classes

    def _crf(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        (_, iterations), (_, radius_zyx), _ = plan.settings
        voxels, taps = prod(size_zyx), sum(2 * radius + 1 for radius in radius_zyx)
        self.tally.parameters += 2 * channels + channels**2
        # Spatial sums of beliefs and, once, of ones; then classes mix.
        self.tally.flops += 2 * voxels * (iterations * channels * (taps + channels) + taps)
        self.tally.kept += CRF_KEPT * iterations * channels * voxels
        return channels

    def _hybrid(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        planar, edge, volumetric = plan.children
        features = self.count(planar.children[0], channels, size_zyx)
        for child in planar.children[1:]:
            features_in = features if child.kind == "predictor" else self.classes
            self.count(child, features_in, size_zyx)
        widths = {"maps": self.classes, "features": features, "image": channels}
        carried = sum(widths[name] for name in edge.get("carries").split("+"))
        self.tally.keep((self.classes + carried) * prod(size_zyx))
        return self.count(volumetric, carried, size_zyx)

    def _forward(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        if plan.settings:
            self.tally.keep(channels * prod(size_zyx))
        return channels

    def _block(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        last = plan.children[-1]
        if last.kind == "merge":
            return self._dense(plan, channels, size_zyx)
        if last.kind != "residual":
            return self._chain(plan, channels, size_zyx)
        width = self._through(plan.children[:-1], channels, size_zyx)
        return self._add(last, width, channels, size_zyx)

    def _dense(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        total, voxels = 0, prod(size_zyx)
        for number, child in enumerate(plan.children[::2]):
            if number:
                self.tally.keep((channels + total) * voxels)
            total += self.count(child, channels + total, size_zyx)
        self.tally.keep(total * voxels)
        return total

    def _add(self, plan: Plan, here: int, other: int, size_zyx: Zyx) -> int:
        (_, norm), (_, activation) = plan.settings
        voxels = prod(size_zyx)
        if here != other:
            self.tally.convolve(1, other, here, voxels, bias=norm == "none")
            self.tally.normalise(norm, here, voxels)
        self.tally.activate(activation, here, voxels)
        return here

    def _down(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        (_, pool), (_, factor_zyx) = plan.settings
        voxels = prod(_lowered(size_zyx, factor_zyx))
        if pool == "strided":
            self.tally.convolve(prod(factor_zyx), channels, channels, voxels, bias=True)
        # Places of maxima are 8-byte integers.
        self.tally.keep((3 if pool == "max" else 1) * channels * voxels)
        return channels

    def _up(self, plan: Plan, channels: int, size_zyx: Zyx, low_zyx: Zyx) -> int:
        (_, upsample), (_, factor_zyx), (_, width) = plan.settings
        for child in plan.children:
            channels = self.count(child, channels, low_zyx)
        if upsample == "transposed":
            low = prod(low_zyx)
            self.tally.convolve(prod(factor_zyx), channels, width, low, bias=True)
        else:
            voxels, taps = prod(size_zyx), prod(3 if step > 1 else 1 for step in factor_zyx)
            self.tally.keep(channels * voxels)
            self.tally.convolve(taps, channels, width, voxels, bias=True)
        return int(width)

    def _encoder_decoder(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        encoder, decoder = plan.children
        kept: list[tuple[int, Zyx]] = []
        for block, edge in zip(encoder.children[::2], encoder.children[1::2], strict=True):
            channels = self.count(block, channels, size_zyx)
            kept.append((channels, size_zyx))
            channels = self._down(edge, channels, size_zyx)
            size_zyx = _lowered(size_zyx, edge.get("factor_zyx"))
        channels = self.count(decoder.children[0], channels, size_zyx)
        for first in range(1, len(decoder.children), 3):
            up, skip, block = decoder.children[first : first + 3]
            other, high_zyx = kept.pop()
            channels = self._up(up, channels, high_zyx, size_zyx)
            size_zyx = high_zyx
            channels = self._skip(skip, channels, other, size_zyx)
            channels = self.count(block, channels, size_zyx)
        return channels

    def _skip(self, plan: Plan, here: int, other: int, size_zyx: Zyx) -> int:
        if plan.kind == "residual":
            return self._add(plan, here, other, size_zyx)
        self.tally.keep((here + other) * prod(size_zyx))
        return here + other

    def _pyramid(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        widths = [self.count(plan.children[0], channels, size_zyx)]
        for first in range(1, len(plan.children), 3):
            edge, block, up = plan.children[first : first + 3]
            low_zyx = _lowered(size_zyx, edge.get("factor_zyx"))
            width = self.count(block, self._down(edge, channels, size_zyx), low_zyx)
            widths.append(self._up(up, width, size_zyx, low_zyx))
        return self._combined(plan, widths, size_zyx)

    def _atrous_pyramid(self, plan: Plan, channels: int, size_zyx: Zyx) -> int:
        widths = [self.count(path, channels, size_zyx) for path in plan.children]
        if len(widths) > 1 and plan.get("share") == "yes":
            shared = _shared_weights(plan.children[0], channels)
            self.tally.parameters -= (len(widths) - 1) * shared
        return self._combined(plan, widths, size_zyx)

    def _combined(self, plan: Plan, widths: list[int], size_zyx: Zyx) -> int:
        if len(widths) == 1:
            return widths[0]
        total = sum(widths) if plan.get("combine") == "merge" else widths[0]
        self.tally.keep(total * prod(size_zyx))
        return total


def _shared_weights(path: Plan, channels: int) -> int:
    """Return the parameters of a path's convolutions, which paths may share."""
    tally = Tally()
    _Walk(tally, classes=1).count(path, channels, (1, 1, 1))
    return tally.parameters - tally.scales
