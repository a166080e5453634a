"""Overlap of a segmentation with the truth, from counts of voxels.

Axes: K class. In a confusion matrix rows are true classes and columns predicted ones.
Confusions of parts of a volume add up to that of the whole, so no volume need be in memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError

__all__ = [
    "Confusion",
    "Labels",
    "accuracy",
    "confusion",
    "dice_K",
    "iou_K",
    "volume_fractions_K",
]

Labels = NDArray[Any]
"""Class numbers of any integer type and any shape."""
Confusion = NDArray[np.int64]
"""Voxels by true class (row) and predicted class (column), shape (K, K)."""

_SLAB_VX = 1 << 22  # bincount makes 64-bit copies: count this many voxels at a time


def confusion(predicted: Labels, true: Labels, classes: int, ignore: int = -1) -> Confusion:
    """Return how many voxels of each true class were predicted as each class, shape (K, K).

    Args:
        predicted: class numbers, 0 to `classes` - 1.
        true: class numbers of the same shape, or `ignore` for voxels that do not count.
        classes: K, the number of classes.
        ignore: the value of `true` that is left out.

    Raises SpecError where the shapes differ or a counted value is no class.
    """
    if predicted.shape != true.shape:
        raise SpecError(f"prediction {predicted.shape} and truth {true.shape} differ in shape")
    counts_KK = np.zeros((classes, classes), np.int64)
    flat_predicted, flat_true = predicted.reshape(-1), true.reshape(-1)
    for first in range(0, flat_true.size, _SLAB_VX):
        slab = slice(first, first + _SLAB_VX)
        counts_KK += _count(flat_predicted[slab], flat_true[slab], classes, ignore)
    return counts_KK


def iou_K(confusion_KK: Confusion) -> tuple[float | None, ...]:
    """Return intersection over union of each class; None where truth and prediction lack it."""
    return tuple(
        float(shared / (true + predicted - shared)) if true + predicted else None
        for shared, true, predicted in _marginals(confusion_KK)
    )


def dice_K(confusion_KK: Confusion) -> tuple[float | None, ...]:
    """Return the Dice overlap of each class; None where truth and prediction lack it."""
    return tuple(
        float(2 * shared / (true + predicted)) if true + predicted else None
        for shared, true, predicted in _marginals(confusion_KK)
    )


def accuracy(confusion_KK: Confusion) -> float:
    """Return the fraction of voxels with the right class. Raises SpecError if none were counted."""
    voxels = int(confusion_KK.sum())
    if voxels == 0:
        raise SpecError("no voxel was counted: all labels are ignored, or the split is empty")
    return float(np.trace(confusion_KK) / voxels)


def volume_fractions_K(labels: Labels, classes: int, ignore: int = -1) -> tuple[float, ...]:
    """Return the fraction of the counted voxels that each class takes; zeros if none count."""
    counts_K = confusion(labels, labels, classes, ignore).diagonal()
    return tuple(float(count) for count in counts_K / max(int(counts_K.sum()), 1))


def _count(predicted: Labels, true: Labels, classes: int, ignore: int) -> Confusion:
    counted = true != ignore
    true, predicted = true[counted], predicted[counted]
    for what, values in (("truth", true), ("prediction", predicted)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            wrong = values.min() if values.min() < 0 else values.max()
            raise SpecError(f"the {what} holds {wrong}; classes are 0 to {classes - 1}")
    pairs = true.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _marginals(confusion_KK: Confusion) -> Iterator[tuple[int, int, int]]:
    return zip(
        confusion_KK.diagonal(), confusion_KK.sum(axis=1), confusion_KK.sum(axis=0), strict=True
    )
