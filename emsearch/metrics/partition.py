"""How alike two partitions of a volume are: into classes, or into instances.

All measures follow from how many voxels each pair of segments shares, so parts of a volume can be
counted one by one. Axes: N pairs of segments that share voxels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from emsearch.errors import SpecError
from emsearch.metrics.overlap import Confusion, Labels

__all__ = [
    "Contingency",
    "RandError",
    "Variation",
    "adapted_rand_error",
    "adjusted_rand_index",
    "instances",
    "variation_of_information",
]

Sizes = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contingency:
    """Voxels shared by each true and each predicted segment."""

    true_N: NDArray[np.int64]
    """Number of the true segment of each pair."""
    predicted_N: NDArray[np.int64]
    voxels_N: NDArray[np.int64]

    @classmethod
    def of(cls, predicted: Labels, true: Labels, ignore: int | None = None) -> "Contingency":
        """Count two arrays of one shape; voxels whose truth is `ignore` do not count.

        Raises SpecError where the shapes differ.
        """
        if predicted.shape != true.shape:
            raise SpecError(f"prediction {predicted.shape} and truth {true.shape} differ in shape")
        pairs = np.stack([true.reshape(-1), predicted.reshape(-1)]).astype(np.int64)
        if ignore is not None:
            pairs = pairs[:, pairs[0] != ignore]
        return cls._counted(pairs, np.ones(pairs.shape[1], np.int64))

    @classmethod
    def of_classes(cls, confusion_KK: Confusion) -> "Contingency":
        """Return the contingency of classes that a confusion matrix holds."""
        true_N, predicted_N = np.nonzero(confusion_KK)
        return cls(
            true_N=true_N, predicted_N=predicted_N, voxels_N=confusion_KK[true_N, predicted_N]
        )

    def __add__(self, other: "Contingency") -> "Contingency":
        """Return the contingency of both parts of a volume; segments keep their numbers."""
        pairs = np.stack(
            [
                np.concatenate([self.true_N, other.true_N]),
                np.concatenate([self.predicted_N, other.predicted_N]),
            ]
        )
        return self._counted(pairs, np.concatenate([self.voxels_N, other.voxels_N]))

    @property
    def true_sizes(self) -> Sizes:
        """Voxels of each true segment."""
        return self._sizes(self.true_N)

    @property
    def predicted_sizes(self) -> Sizes:
        """Voxels of each predicted segment."""
        return self._sizes(self.predicted_N)

    def _sizes(self, segment_N: NDArray[np.int64]) -> Sizes:
        _, place = np.unique(segment_N, return_inverse=True)
        sizes: Sizes = np.bincount(place, weights=self.voxels_N).astype(np.float64)
        return sizes

    @classmethod
    def _counted(cls, pairs: NDArray[np.int64], voxels: NDArray[np.int64]) -> "Contingency":
        found, place = np.unique(pairs, axis=1, return_inverse=True)
        counts_N = np.zeros(found.shape[1], np.int64)
        np.add.at(counts_N, place.reshape(-1), voxels)
        return cls(true_N=found[0], predicted_N=found[1], voxels_N=counts_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class RandError:
    """Adapted Rand error with its parts."""

    error: float
    """1 less the F score of pairs of voxels: 0 is perfect."""
    precision: float
    """Of the pairs that are predicted together, the part that belongs together."""
    recall: float
    """Of the pairs that belong together, the part that is predicted together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """Variation of information in bits: 0 is perfect."""

    split: float
    """What the truth does not say about the prediction: segments cut to pieces."""
    merge: float
    """What the prediction does not say about the truth: segments run together."""

    @property
    def total(self) -> float:
        """Both together."""
        return self.split + self.merge


def adjusted_rand_index(contingency: Contingency) -> float:
    """Return the Rand index adjusted for chance: 1 is perfect, 0 is chance.

    Of a whole volume: a mean over windows is another number. Raises SpecError if no voxel counts.
    """
    both, true, predicted = _pairs(contingency)
    voxels = float(contingency.voxels_N.sum())
    only_true, only_predicted = true - both, predicted - both
    neither = voxels * (voxels - 1) - true - predicted + both
    if only_true == only_predicted == 0:
        return 1.0
    chance = (both + only_true) * (only_true + neither)
    chance += (both + only_predicted) * (only_predicted + neither)
    return 2 * (both * neither - only_true * only_predicted) / chance


def adapted_rand_error(contingency: Contingency) -> RandError:
    """Return the error of SNEMI3D and CREMI: 1 less the F score of pairs of voxels.

    Leave the background out by counting with `ignore=0`. Raises SpecError if no voxel counts.
    """
    both, true, predicted = _pairs(contingency)
    mean = (true + predicted) / 2
    return RandError(
        error=1 - both / mean if mean else 0.0,
        precision=both / predicted if predicted else 1.0,
        recall=both / true if true else 1.0,
    )


def variation_of_information(contingency: Contingency) -> Variation:
    """Return what truth and prediction do not say about each other, in bits.

    Raises SpecError if no voxel counts.
    """
    _pairs(contingency)
    joint = _entropy(contingency.voxels_N.astype(np.float64))
    return Variation(
        split=joint - _entropy(contingency.true_sizes),
        merge=joint - _entropy(contingency.predicted_sizes),
    )


def instances(labels_ZYX: Labels, number: int) -> NDArray[np.int64]:
    """Return the connected bodies of class `number`, counted from 1; 0 elsewhere.

    Voxels that share a face are connected.
    """
    bodies, _ = label(labels_ZYX == number)
    numbered: NDArray[np.int64] = np.asarray(bodies, np.int64)
    return numbered


def _pairs(contingency: Contingency) -> tuple[float, float, float]:
    """Return ordered pairs of voxels together in both, in the truth, in the prediction."""
    if not contingency.voxels_N.sum():
        raise SpecError("no voxel was counted: all labels are ignored, or the volume is empty")
    sizes = (
        contingency.voxels_N.astype(np.float64),
        contingency.true_sizes,
        contingency.predicted_sizes,
    )
    both, true, predicted = (float(np.sum(size * (size - 1))) for size in sizes)
    return both, true, predicted


def _entropy(sizes: Sizes) -> float:
    part = sizes / sizes.sum()
    return float(-np.sum(part * np.log2(part)))
