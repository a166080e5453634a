"""A network over a region of a volume, window by window, in memory that a block bounds.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emsearch.inference.ahead import ahead, behind
from emsearch.inference.box import Box, Reader, Shape, split_box
from emsearch.inference.tiles import BLENDS, Tile, Tiling, plan_tiling, tiles_of
from emsearch.trees.arithmetic import Target, describe
from emsearch.trees.node import Tree

__all__ = ["Member", "Predictor", "Stored", "most_probable", "tiling_of"]

_WINDOW_BYTES = {"cpu": 1 << 29, "cuda": 1 << 32}
"""Of a window's activations, by the kind of device."""
_BATCH_VX = {"cpu": 1 << 16, "cuda": 1 << 21}
"""Of blended windows that are predicted at once."""
_CACHED_VALUES = 1 << 17  # of probabilities, in half a megabyte
_BLOCK_BYTES = 1 << 28  # of blended class probabilities that are held at once


class Member(Protocol):
    """A network of several: in memory, or read from disk when its turn comes."""

    @property
    def tiling(self) -> Tiling:
        """The tiling that suits it."""

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    def opened(self) -> "Predictor":
        """Return the network, ready to predict."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """A network with the tiling that suits it."""

    network: nn.Module
    """From image_BCZYX to logits_BKZYX of the same size; in evaluation mode, on `device`."""
    tiling: Tiling
    classes: int
    device: torch.device

    @classmethod
    def of(
        cls,
        tree: Tree,
        network: nn.Module,
        classes: int,
        patch_zyx: Shape,
        device: torch.device,
    ) -> "Predictor":
        """Return the predictor of a network that was built from `tree`, trained on such patches."""
        tiling = tiling_of(tree, classes, patch_zyx, device)
        return cls(network=network.eval(), tiling=tiling, classes=classes, device=device)

    def opened(self) -> "Predictor":
        """Return itself: its network is in memory."""
        return self

    @torch.inference_mode()
    def pieces(self, read: Reader, volume_zyx: Shape, region: Box) -> Iterator[tuple[Box, Tensor]]:
        """Yield boxes that cover `region` once, each with its probability_KZYX on the device.

        `read` gives the normalised image; `volume_zyx` is the shape of the whole volume, on which
        the windows depend, so that a region's prediction is the same in whatever parts it is made.
        """
        if self.tiling.is_exact:
            for tile, logits_KZYX in self._kept(read, volume_zyx, region):
                yield tile.keep, torch.softmax(logits_KZYX.float(), dim=0)
            return
        for block in split_box(region, self._block_zyx(region)):
            yield block, self._blend(read, volume_zyx, block)

    @torch.inference_mode()
    def label_pieces(
        self, read: Reader, volume_zyx: Shape, region: Box
    ) -> Iterator[tuple[Box, Tensor]]:
        """Yield boxes that cover `region` once, each with its labels_ZYX on the device.

        Of exact tiles the class with the largest logit is the most probable one: probabilities need
        not be known.
        """
        if not self.tiling.is_exact:
            for box, piece_KZYX in self.pieces(read, volume_zyx, region):
                yield box, most_probable(piece_KZYX)
            return
        logits = self._kept(read, volume_zyx, region)
        yield from behind(lambda one: (one[0].keep, most_probable(one[1])), logits)

    def probability(self, read: Reader, volume_zyx: Shape, region: Box) -> NDArray[np.float32]:
        """Return the probability_KZYX of `region`."""
        whole_KZYX = np.empty((self.classes, *region.shape_zyx), np.float32)
        for box, piece_KZYX in self.pieces(read, volume_zyx, region):
            whole_KZYX[:, *box.slices(region.start_zyx)] = piece_KZYX.cpu().numpy()
        return whole_KZYX

    def labels(self, read: Reader, volume_zyx: Shape, region: Box) -> NDArray[np.uint8]:
        """Return the most probable class of each voxel of `region`, labels_ZYX."""
        labels_ZYX = np.empty(region.shape_zyx, np.uint8)
        for box, found_ZYX in self.label_pieces(read, volume_zyx, region):
            labels_ZYX[box.slices(region.start_zyx)] = found_ZYX.cpu().numpy()
        return labels_ZYX

    def _kept(self, read: Reader, volume_zyx: Shape, region: Box) -> Iterator[tuple[Tile, Tensor]]:
        """Yield exact tiles, each with the logits_KZYX of what counts of it."""
        tiles = ([tile] for tile in tiles_of(self.tiling, volume_zyx, region))
        for (tile,), logits_BKZYX in self._logits(read, tiles):
            yield tile, logits_BKZYX[0][:, *tile.keep.slices(tile.window.start_zyx)]

    def _logits(
        self, read: Reader, batches: Iterable[list[Tile]]
    ) -> Iterator[tuple[list[Tile], Tensor]]:
        """Yield windows of equal shape with their logits_BKZYX; the next are read meanwhile."""
        images = ((tiles, np.stack([read(tile.window) for tile in tiles])) for tiles in batches)
        for tiles, image_BZYX in ahead(images):
            yield tiles, self.network(torch.from_numpy(image_BZYX)[:, None].to(self.device))

    @torch.inference_mode()
    def _blend(self, read: Reader, volume_zyx: Shape, block: Box) -> Tensor:
        shape_zyx = block.shape_zyx
        sum_KZYX = torch.zeros((self.classes, *shape_zyx), device=self.device)
        total_ZYX = torch.zeros(shape_zyx, device=self.device)
        weigh = BLENDS[self.tiling.blend]
        weight_ZYX = torch.from_numpy(weigh(self.tiling.window_zyx or shape_zyx))
        weight_ZYX = weight_ZYX.to(self.device)
        batches = self._batches(tiles_of(self.tiling, volume_zyx, block))
        for tiles, logits_BKZYX in self._logits(read, batches):
            said_BKZYX = torch.softmax(logits_BKZYX.float(), dim=1)
            for tile, said_KZYX in zip(tiles, said_BKZYX, strict=True):
                kept = tile.keep.slices(tile.window.start_zyx)
                place = tile.keep.slices(block.start_zyx)
                sum_KZYX[:, *place].addcmul_(said_KZYX[:, *kept], weight_ZYX[kept])
                total_ZYX[place] += weight_ZYX[kept]
        return sum_KZYX.div_(total_ZYX)

    def _batches(self, tiles: Iterator[Tile]) -> Iterator[list[Tile]]:
        """Yield windows of equal shape together: small ones leave a device waiting between them."""
        voxels = prod(self.tiling.window_zyx or self.tiling.step_zyx)
        most = max(_BATCH_VX[self.device.type] // voxels, 1)
        while batch := list(islice(tiles, most)):
            yield batch

    def _block_zyx(self, region: Box) -> Shape:
        """Return the shape of blocks whose probabilities fit into memory, whole sections first."""
        _, y, x = region.shape_zyx
        window_z = (self.tiling.window_zyx or (1, 1, 1))[0]
        sections = _BLOCK_BYTES // (4 * (self.classes + 1) * y * x)
        return max(sections, window_z), y, x


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A network on disk: read when its turn comes and dropped then, so that many take no memory."""

    tiling: Tiling
    classes: int
    device: torch.device
    load: Callable[[], Predictor]

    def opened(self) -> Predictor:
        """Return the network, read from disk."""
        return replace(self.load(), tiling=self.tiling)


def most_probable(probability_KZYX: Tensor) -> Tensor:
    """Return the labels_ZYX of most probable classes, the first of equals, as uint8.

    On a CPU a few rows at a time, which stay in its cache: many times faster than torch's argmax.
    """
    if probability_KZYX.device.type != "cpu":
        best_ZYX = probability_KZYX.amax(0)
        labels_ZYX = torch.zeros(best_ZYX.shape, dtype=torch.uint8, device=best_ZYX.device)
        for number in range(len(probability_KZYX) - 1, -1, -1):  # the first of equals comes last
            labels_ZYX.masked_fill_(probability_KZYX[number] == best_ZYX, number)
        return labels_ZYX
    return torch.from_numpy(_most_probable(probability_KZYX.numpy()))


def _most_probable(probability_KZYX: NDArray[np.float32]) -> NDArray[np.uint8]:
    classes, depth, height, width = probability_KZYX.shape
    labels_ZYX = np.zeros((depth, height, width), np.uint8)
    rows = max(_CACHED_VALUES // (classes * width), 1)
    for section, first in product(range(depth), range(0, height, rows)):
        place = section, slice(first, first + rows)
        said_KYX = np.ascontiguousarray(probability_KZYX[:, *place])
        best_YX, labels_YX = said_KYX[0], labels_ZYX[place]
        for number in range(1, classes):  # a later class has the larger number
            is_better_YX = (said_KYX[number] > best_YX).view(np.uint8)
            np.maximum(labels_YX, is_better_YX * np.uint8(number), out=labels_YX)
            best_YX = np.maximum(best_YX, said_KYX[number])
    return labels_ZYX


def tiling_of(tree: Tree, classes: int, patch_zyx: Shape, device: torch.device) -> Tiling:
    """Return the tiling for the network of `tree`, trained on such patches, on a device."""
    facts = describe(tree, Target(classes=classes, patch_zyx=patch_zyx))
    return plan_tiling(facts, patch_zyx, _WINDOW_BYTES[device.type])
