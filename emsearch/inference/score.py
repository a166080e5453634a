"""Networks against the truth, over a whole split.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Reader, Shape, split_box
from emsearch.inference.committee import block_shape, vote_of
from emsearch.inference.predict import Predictor, most_probable
from emsearch.inference.tiles import Tiling
from emsearch.metrics.overlap import Confusion, confusion
from emsearch.records.dataset import Dataset
from emsearch.records.score import Split
from emsearch.volumes.dataset import OpenVolume, open_volume

CELL_VX = 256
"""Width of the squares that a split's sections are cut into, to tell how sure a score is."""

__all__ = [
    "Ballot",
    "Part",
    "Verdict",
    "blocks_of",
    "confusion_on",
    "confusions_in_cells",
    "judge",
    "judge_blocks",
    "parts_of",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The part of a volume that belongs to a split."""

    volume: OpenVolume
    region: Box

    @property
    def volume_zyx(self) -> Shape:
        """Shape of the whole volume."""
        return self.volume.record.shape_zyx

    @property
    def reader(self) -> Reader:
        """Reads the normalised image, context beyond the split included."""
        return lambda box: self.volume.read_image(box.ranges)

    def truth(self, box: Box) -> NDArray[np.int16]:
        """Return the labels_ZYX of `box`, -1 where they are ignored."""
        return self.volume.read_labels(box.ranges)


def parts_of(dataset: Dataset, study: Path, split: Split) -> list[Part]:
    """Return the parts of the dataset's volumes that belong to `split`.

    Raises SpecError where there is none.
    """
    found = []
    for record in dataset.volumes:
        if (slices := record.slices(split)) is not None:
            _, y, x = record.shape_zyx
            region = Box(start_zyx=(slices[0], 0, 0), stop_zyx=(slices[1], y, x))
            found.append(Part(volume=open_volume(record, study), region=region))
    if not found:
        raise SpecError(f"no volume has slices for {split}; give one of them some")
    return found


def blocks_of(parts: Sequence[Part], tilings: Sequence[Tiling]) -> Iterator[tuple[Part, Box]]:
    """Yield the blocks in which networks of such tilings best predict the parts."""
    for part in parts:
        for block in split_box(part.region, block_shape(tilings, part.region.shape_zyx)):
            yield part, block


def confusion_on(
    parts: Sequence[Part], predictor: Predictor, look_up: Callable[[], None] = lambda: None
) -> Confusion:
    """Return the voxels of each true class that `predictor` takes for each class, shape (K, K).

    No more than a window is in memory at a time. `look_up` is called after each; what it raises
    ends the prediction.
    """
    counts_KK = np.zeros((predictor.classes, predictor.classes), np.int64)
    for part in parts:
        for box, probability_KZYX in predictor.pieces(part.reader, part.volume_zyx, part.region):
            predicted_ZYX = most_probable(probability_KZYX).cpu().numpy()
            truth_ZYX = part.truth(box)
            counts_KK += confusion(predicted_ZYX, truth_ZYX, predictor.classes)
            look_up()
    return counts_KK


@dataclass(frozen=True, kw_only=True, slots=True)
class Ballot:
    """A committee by its members."""

    weights: Mapping[int, float]
    """Of each member, by its key among predictors."""
    is_majority: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What committees and their members say of a block."""

    probabilities: dict[str, NDArray[np.float32]]
    """By committee, probability_KZYX."""
    votes: dict[int, NDArray[np.uint8]]
    """By member, labels_ZYX."""

    def labels(self, name: str) -> NDArray[np.uint8]:
        """Return the labels_ZYX of a committee."""
        return _labels(self.probabilities[name])


def judge_blocks(
    parts: Sequence[Part], predictors: Mapping[int, Predictor], ballots: Mapping[str, Ballot]
) -> Iterator[tuple[Part, Box, NDArray[np.int16], Verdict]]:
    """Yield the blocks of a split with their truth_ZYX and what each committee says of them.

    Each network predicts a block once, for all committees that it belongs to.
    """
    for part, block in blocks_of(parts, [predictor.tiling for predictor in predictors.values()]):
        yield part, block, part.truth(block), judge(part, block, predictors, ballots)


def cells_of(box: Box) -> Iterator[Box]:
    """Yield the cells that a box is made of, in array order."""
    return split_box(box, (1, CELL_VX, CELL_VX))


def confusions_in_cells(
    labels_ZYX: NDArray[np.uint8], truth_ZYX: NDArray[np.int16], block: Box, classes: int
) -> list[Confusion]:
    """Return the confusions of a block's cells: what intervals are drawn from."""
    places = (cell.slices(block.start_zyx) for cell in cells_of(block))
    return [confusion(labels_ZYX[place], truth_ZYX[place], classes) for place in places]


def judge(
    part: Part, block: Box, predictors: Mapping[int, Predictor], ballots: Mapping[str, Ballot]
) -> Verdict:
    """Return what committees and their members say of a block."""
    sums: dict[str, NDArray[np.float32]] = {}
    votes: dict[int, NDArray[np.uint8]] = {}
    for key, predictor in predictors.items():
        concerned = {name: ballot for name, ballot in ballots.items() if ballot.weights.get(key)}
        if not concerned:
            continue
        probability_KZYX = predictor.probability(part.reader, part.volume_zyx, block)
        votes[key] = _labels(probability_KZYX)
        for name, ballot in concerned.items():
            said_KZYX = _vote(probability_KZYX) if ballot.is_majority else probability_KZYX
            weighted_KZYX = np.float32(ballot.weights[key]) * said_KZYX
            sums[name] = sums[name] + weighted_KZYX if name in sums else weighted_KZYX
    return Verdict(probabilities=sums, votes=votes)


def _labels(probability_KZYX: NDArray[np.float32]) -> NDArray[np.uint8]:
    labels_ZYX: NDArray[np.uint8] = most_probable(torch.from_numpy(probability_KZYX)).numpy()
    return labels_ZYX


def _vote(probability_KZYX: NDArray[np.float32]) -> NDArray[np.float32]:
    vote_KZYX: NDArray[np.float32] = vote_of(torch.from_numpy(probability_KZYX)).numpy()
    return vote_KZYX
