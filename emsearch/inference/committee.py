"""Several networks that speak as one: the weighted mean of their class probabilities.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Reader, Shape, split_box
from emsearch.inference.predict import Predictor
from emsearch.inference.tiles import Tiling

__all__ = ["Committee", "block_shape"]

_BLOCK_VX = 1 << 21


@dataclass(frozen=True, kw_only=True, slots=True)
class Committee:
    """Networks with weights that sum to 1."""

    members: tuple[Predictor, ...]
    weights: tuple[float, ...]

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

    def probability(self, read: Reader, volume_zyx: Shape, region: Box) -> NDArray[np.float32]:
        """Return the mean probability_KZYX of a region; it is all in memory."""
        mean_KZYX = np.zeros((self.classes, *region.shape_zyx), np.float32)
        for member, weight in zip(self.members, self.weights, strict=True):
            for box, piece_KZYX in member.pieces(read, volume_zyx, region):
                mean_KZYX[:, *box.slices(region.start_zyx)] += weight * piece_KZYX.cpu().numpy()
        return mean_KZYX

    def labels(self, read: Reader, volume_zyx: Shape) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        """Yield the blocks of a whole volume, each with its labels_ZYX."""
        for block in split_box(Box.whole(volume_zyx), self.block_zyx(volume_zyx)):
            yield block, self.probability(read, volume_zyx, block).argmax(0).astype(np.uint8)

    def block_zyx(self, volume_zyx: Shape) -> Shape:
        """Return the shape of blocks in which a volume of that shape is best predicted."""
        return block_shape([member.tiling for member in self.members], volume_zyx)


def block_shape(tilings: Sequence[Tiling], volume_zyx: Shape) -> Shape:
    """Return the shape of blocks of about two million voxels, no smaller than a network's tile.

    They are wide rather than deep, but as deep as the tiles, so that little context is read twice.
    """
    tiles = [tiling.window_zyx or tiling.step_zyx for tiling in tilings]
    z, y, x = (
        min(max(tile[axis] for tile in tiles), length) for axis, length in enumerate(volume_zyx)
    )
    while z * y * x * 2 <= _BLOCK_VX and (z, y, x) != volume_zyx:
        if x < volume_zyx[2] and (x <= y or y == volume_zyx[1]):
            x = min(2 * x, volume_zyx[2])
        elif y < volume_zyx[1]:
            y = min(2 * y, volume_zyx[1])
        else:
            z = min(2 * z, volume_zyx[0])
    return z, y, x
