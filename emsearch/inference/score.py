"""Networks against the truth, over a whole split.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Reader, Shape, split_box
from emsearch.inference.committee import block_shape
from emsearch.inference.predict import Predictor
from emsearch.inference.tiles import Tiling
from emsearch.metrics.overlap import Confusion, confusion
from emsearch.records.dataset import Dataset
from emsearch.records.score import Split
from emsearch.volumes.dataset import OpenVolume, open_volume

CELL_VX = 256
"""Width of the squares that a split's sections are cut into, to tell how sure a score is."""

__all__ = ["Part", "blocks_of", "confusion_on", "confusions_on", "parts_of", "predict_votes"]


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

    def truth(self, box: Box) -> NDArray[np.int64]:
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


def confusion_on(parts: Sequence[Part], predictor: Predictor) -> Confusion:
    """Return the voxels of each true class that `predictor` takes for each class, shape (K, K).

    No more than a window is in memory at a time.
    """
    counts_KK = np.zeros((predictor.classes, predictor.classes), np.int64)
    for part in parts:
        for box, probability_KZYX in predictor.pieces(part.reader, part.volume_zyx, part.region):
            predicted_ZYX = probability_KZYX.argmax(0).to(torch.uint8).cpu().numpy()
            truth_ZYX = part.truth(box)
            counts_KK += confusion(predicted_ZYX, truth_ZYX, predictor.classes)
    return counts_KK


def confusions_on(
    parts: Sequence[Part],
    predictors: Mapping[int, Predictor],
    votes: Mapping[str, Mapping[int, float]],
) -> dict[str, NDArray[np.int64]]:
    """Return the confusions_CKK of several weighted committees in the cells C of a split.

    Keys are those of `votes`, which gives for each committee its members, by their keys in
    `predictors`, with weights. Each network predicts a block once, for all committees that it
    belongs to. Cells are squares of a section, at most `CELL_VX` wide: what intervals are drawn
    from.
    """
    counts: dict[str, list[Confusion]] = {name: [] for name in votes}
    for part, block in blocks_of(parts, [predictor.tiling for predictor in predictors.values()]):
        truth_ZYX = part.truth(block)
        labels = predict_votes(part, block, predictors, votes)
        for name, labels_ZYX in labels.items():
            for cell in cells_of(block):
                place = cell.slices(block.start_zyx)
                classes = predictors[next(iter(votes[name]))].classes
                counts[name].append(confusion(labels_ZYX[place], truth_ZYX[place], classes))
    return {name: np.stack(of) for name, of in counts.items()}


def cells_of(box: Box) -> Iterator[Box]:
    """Yield the cells that a box is made of, in array order."""
    return split_box(box, (1, CELL_VX, CELL_VX))


def predict_votes(
    part: Part,
    block: Box,
    predictors: Mapping[int, Predictor],
    votes: Mapping[str, Mapping[int, float]],
) -> dict[str, NDArray[np.uint8]]:
    """Return the labels_ZYX that each committee gives `block`."""
    sums: dict[str, NDArray[np.float32]] = {}
    for key, predictor in predictors.items():
        concerned = {name: of[key] for name, of in votes.items() if of.get(key)}
        if not concerned:
            continue
        probability_KZYX = predictor.probability(part.reader, part.volume_zyx, block)
        for name, weight in concerned.items():
            weighted_KZYX = np.float32(weight) * probability_KZYX
            sums[name] = sums[name] + weighted_KZYX if name in sums else weighted_KZYX
    return {name: sum_KZYX.argmax(0).astype(np.uint8) for name, sum_KZYX in sums.items()}
