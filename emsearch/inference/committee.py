"""Several networks that speak as one: the weighted mean of their class probabilities.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Reader, Shape, split_box
from emsearch.inference.predict import Member, most_probable
from emsearch.inference.tiles import Tiling
from emsearch.inference.views import Manner, views_of

__all__ = ["Committee", "block_shape", "tempered", "vote_of"]

_BLOCK_VX = 1 << 21
_BLOCK_VALUES = 1 << 24  # voxels times classes: of many classes blocks are smaller
_TIE = 1e-3  # of a probability beside a vote: less than the smallest weight of one
_CUBE = 64  # sides of blocks seen along three axes are multiples of it
_PLAIN = Manner()


@dataclass(frozen=True, kw_only=True, slots=True)
class Committee:
    """Networks with weights that sum to 1."""

    members: tuple[Member, ...]
    weights: tuple[float, ...]
    is_majority: bool = False
    """Whether each network votes for its most probable class, instead of all being averaged."""
    manner: Manner = _PLAIN

    def __post_init__(self) -> None:
        if not self.members or len(self.members) != len(self.weights):
            raise SpecError(
                f"a committee has a weight for each member, got {len(self.members)} members and "
                f"{len(self.weights)} weights"
            )
        if abs(sum(self.weights) - 1) > 1e-6 or min(self.weights) < 0:
            raise SpecError(f"the weights of a committee sum to 1, got {self.weights}")

    @property
    def classes(self) -> int:
        """How many classes the networks tell apart."""
        return self.members[0].classes

    def predict(self, read: Reader, volume_zyx: Shape, region: Box) -> Tensor:
        """Return the probability_KZYX of a region, on the networks' device; it is all in memory."""
        device = self.members[0].device
        sum_KZYX = torch.empty((self.classes, *region.shape_zyx), device=device)
        where = (read, volume_zyx, region)
        if not self.is_majority:
            for turn, (member, weight) in enumerate(zip(self.members, self.weights, strict=True)):
                self._add(sum_KZYX, weight, member, where, is_first=turn == 0)
            return sum_KZYX
        alone_KZYX = torch.empty_like(sum_KZYX)
        sum_KZYX.zero_()
        for member, weight in zip(self.members, self.weights, strict=True):
            self._add(alone_KZYX, 1.0, member, where, is_first=True)
            sum_KZYX.add_(vote_of(alone_KZYX), alpha=weight)
        return sum_KZYX

    def probability(self, read: Reader, volume_zyx: Shape, region: Box) -> NDArray[np.float32]:
        """Return what `predict` does as an array."""
        mean_KZYX: NDArray[np.float32] = self.predict(read, volume_zyx, region).cpu().numpy()
        return mean_KZYX

    def label(self, read: Reader, volume_zyx: Shape, region: Box) -> NDArray[np.uint8]:
        """Return the labels_ZYX of a region; of a single network, without its probabilities."""
        if len(self.members) == 1 and self.manner == _PLAIN:
            return self.members[0].opened().labels(read, volume_zyx, region)
        found_ZYX = most_probable(self.predict(read, volume_zyx, region))
        labels_ZYX: NDArray[np.uint8] = found_ZYX.cpu().numpy()
        return labels_ZYX

    def labels(self, read: Reader, volume_zyx: Shape) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        """Yield the blocks of a whole volume, each with its labels_ZYX."""
        for block in split_box(Box.whole(volume_zyx), self.block_zyx(volume_zyx)):
            yield block, self.label(read, volume_zyx, block)

    def _add(
        self,
        sum_KZYX: Tensor,
        weight: float,
        member: Member,
        where: tuple[Reader, Shape, Box],
        *,
        is_first: bool,
    ) -> None:
        """Add what a member says of a region, the mean over its views.

        The first that is added replaces what is there.
        """
        read, volume_zyx, region = where
        views = list(views_of(self.manner, is_flat=member.tiling.is_flat))
        network = member.opened()
        for turn, view in enumerate(views):
            seen = (view.reader(read, volume_zyx), view.shape(volume_zyx))
            for box, piece_KZYX in network.pieces(*seen, view.box(region, volume_zyx)):
                place = view.back(box, volume_zyx).slices(region.start_zyx)
                here_KZYX, share = sum_KZYX[:, *place], weight / len(views)
                if is_first and turn == 0:
                    torch.mul(view.restore(piece_KZYX), share, out=here_KZYX)
                else:
                    here_KZYX.add_(view.restore(piece_KZYX), alpha=share)

    @property
    def reach_zyx(self) -> Shape:
        """How far beyond a block its windows may reach along each axis."""
        tilings = [member.tiling for member in self.members]
        z, y, x = (
            max((one.window_zyx or one.margin_zyx)[axis] + one.divisor_zyx[axis] for one in tilings)
            for axis in range(3)
        )
        return (max(z, y, x),) * 3 if self.manner.axes == "zyx" else (z, y, x)

    def block_zyx(self, volume_zyx: Shape) -> Shape:
        """Return the shape of blocks in which a volume of that shape is best predicted."""
        if self.manner.axes == "zyx" and any(member.tiling.is_flat for member in self.members):
            side = round(_most_voxels(self.classes) ** (1 / 3)) // _CUBE * _CUBE
            z, y, x = (min(max(side, _CUBE), length) for length in volume_zyx)
            return z, y, x
        return block_shape([member.tiling for member in self.members], volume_zyx, self.classes)


def vote_of(probability_KZYX: Tensor) -> Tensor:
    """Return a vote for the most probable class of each voxel.

    Probabilities decide where as many votes are given to two classes.
    """
    vote_KZYX = torch.zeros_like(probability_KZYX)
    vote_KZYX.scatter_(0, probability_KZYX.argmax(0, keepdim=True), 1.0)
    return vote_KZYX.add_(probability_KZYX, alpha=_TIE).div_(1 + _TIE)


def tempered(probability_KZYX: Tensor, temperature: float) -> Tensor:
    """Return the probabilities softened (temperature above 1) or sharpened; sums stay 1."""
    if temperature == 1:
        return probability_KZYX
    powers_KZYX = probability_KZYX.clamp_min(1e-7).pow(1 / temperature)
    return powers_KZYX / powers_KZYX.sum(0)


def block_shape(tilings: Sequence[Tiling], volume_zyx: Shape, classes: int = 8) -> Shape:
    """Return the shape of blocks of about two million voxels, no smaller than a network's tile.

    They are wide rather than deep, but as deep as the tiles, so that little context is read twice.
    Of more than eight classes they are smaller, so that their probabilities take no more memory.
    """
    tiles = [tiling.window_zyx or tiling.step_zyx for tiling in tilings]
    z, y, x = (
        min(max(tile[axis] for tile in tiles), length) for axis, length in enumerate(volume_zyx)
    )
    most = _most_voxels(classes)
    while z * y * x * 2 <= most and (z, y, x) != volume_zyx:
        if x < volume_zyx[2] and (x <= y or y == volume_zyx[1]):
            x = min(2 * x, volume_zyx[2])
        elif y < volume_zyx[1]:
            y = min(2 * y, volume_zyx[1])
        else:
            z = min(2 * z, volume_zyx[0])
    while z * y * x > 2 * most and max(y, x) > 2 * _CUBE:  # a tile of very many classes
        y, x = (-(-y // 2), x) if y >= x else (y, -(-x // 2))
    return z, y, x


def _most_voxels(classes: int) -> int:
    return min(_BLOCK_VX, _BLOCK_VALUES // classes)
