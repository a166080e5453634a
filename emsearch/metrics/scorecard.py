"""From counts of voxels to the score that candidates are compared by."""

from collections.abc import Sequence

from emsearch.metrics.overlap import Confusion, accuracy, iou_K
from emsearch.records.score import Score, Split

__all__ = ["score"]


def score(confusion_KK: Confusion, split: Split) -> Score:
    """Return what a segmentation of a whole split is worth.

    A class that truth and prediction both lack has no overlap (None) and is left out of the means.
    Where no class but 0 is there, the foreground's mean is that of all. Raises SpecError if no
    voxel was counted.
    """
    right = accuracy(confusion_KK)
    overlap_K = iou_K(confusion_KK)
    there = _mean(overlap_K)
    return Score(
        split=split,
        iou_K=overlap_K,
        mean_iou=there,
        mean_iou_foreground=_mean(overlap_K[1:], otherwise=there),
        accuracy=right,
        voxels=int(confusion_KK.sum()),
    )


def _mean(overlap_K: Sequence[float | None], otherwise: float = 0.0) -> float:
    there = [value for value in overlap_K if value is not None]
    return sum(there) / len(there) if there else otherwise
