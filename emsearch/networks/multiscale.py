"""Modules at several resolutions: encoder-decoders and spatial pyramids."""

from torch import Tensor, nn

from emsearch.networks.block import Parallel
from emsearch.networks.edges import add, merge
from emsearch.networks.parts import Made, Shop
from emsearch.trees.plan import Plan

__all__ = ["EncoderDecoder", "encoder_decoder", "pyramid"]


class Fall(nn.Module):
    """A block of an encoder and the edge down from it."""

    def __init__(self, block: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.down = down

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return features at this resolution and at the next lower one."""
        features = self.block(given)
        return features, self.down(features)


class Rise(nn.Module):
    """The edge up to a block of a decoder, the skip that joins it, and the block."""

    def __init__(self, up: nn.Module, skip: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.skip = skip
        self.block = block

    def forward(self, given: Tensor, skipped: Tensor) -> Tensor:
        """Return features at the next higher resolution, which `skipped` has."""
        features: Tensor = self.block(self.skip(self.up(given), skipped))
        return features


class EncoderDecoder(nn.Module):
    """Falls in resolution step by step and rises again, joined across by skips."""

    def __init__(self, falls: list[Fall], bottom: nn.Module, rises: list[Rise]) -> None:
        super().__init__()
        self.falls = nn.ModuleList(falls)
        self.bottom = bottom
        self.rises = nn.ModuleList(rises)

    def forward(self, given: Tensor) -> Tensor:
        """Return features of the size of what is given."""
        kept = []
        for fall in self.falls:
            features, given = fall(given)
            kept.append(features)
        given = self.bottom(given)
        for rise in self.rises:
            given = rise(given, kept.pop())
        return given


def encoder_decoder(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return an encoder and the decoder that undoes it."""
    encoder, decoder = plan.children
    falls, widths = [], []
    for inside, edge in zip(encoder.children[::2], encoder.children[1::2], strict=True):
        block, channels = shop.make(inside, channels, shop)
        down, channels = shop.make(edge, channels, shop)
        falls.append(Fall(block, down))
        widths.append(channels)
    bottom, channels = shop.make(decoder.children[0], channels, shop)
    rises = []
    for first in range(1, len(decoder.children), 3):
        rise, channels = _rise(decoder.children[first : first + 3], channels, widths.pop(), shop)
        rises.append(rise)
    return EncoderDecoder(falls, bottom, rises), channels


def _rise(plans: tuple[Plan, ...], channels: int, other: int, shop: Shop) -> tuple[Rise, int]:
    up, channels = shop.make(plans[0], channels, shop)
    is_merge = plans[1].kind == "merge"
    skip, channels = merge(channels, other) if is_merge else add(plans[1], channels, other, shop)
    block, channels = shop.make(plans[2], channels, shop)
    return Rise(up, skip, block), channels


def pyramid(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return parallel blocks at full, half, quarter resolution ..., added or concatenated."""
    first, width = shop.make(plan.children[0], channels, shop)
    paths, widths = [first], [width]
    for start in range(1, len(plan.children), 3):
        layers, width = [], channels
        for child in plan.children[start : start + 3]:
            layer, width = shop.make(child, width, shop)
            layers.append(layer)
        paths.append(nn.Sequential(*layers))
        widths.append(width)
    combine = dict(plan.settings).get("combine", "add")
    return Parallel(paths, combine), sum(widths) if combine == "merge" else widths[0]
