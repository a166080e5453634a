"""Whether probabilities mean what they say, and the temperature that makes them do.

Axes: K class, N voxel.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

__all__ = ["Reliability", "fit_temperature"]

_BINS = 15
_HOTTEST = 8.0  # and an eighth is the coldest
_LEAST = 1e-7


@dataclass(kw_only=True, slots=True)
class Reliability:
    """How often the most probable class is right, by how probable it was said to be."""

    voxels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))
    sure: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))
    """Sums of the probabilities said."""
    right: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))
    """How many were right."""

    def add(self, probability_KN: NDArray[np.float32], true_N: NDArray[np.integer]) -> None:
        """Count voxels; those whose true class is below 0 do not count."""
        known = true_N >= 0
        sure_N = probability_KN.max(0)[known]
        right_N = probability_KN.argmax(0)[known] == true_N[known]
        bin_N = np.minimum((sure_N * _BINS).astype(np.int64), _BINS - 1)
        self.voxels += np.bincount(bin_N, minlength=_BINS)
        self.sure += np.bincount(bin_N, sure_N, minlength=_BINS)
        self.right += np.bincount(bin_N, right_N, minlength=_BINS)

    def to_dict(self) -> dict[str, list[float]]:
        """Return it as JSON values, which hold every bit of it."""
        return {name: getattr(self, name).tolist() for name in ("voxels", "sure", "right")}

    @classmethod
    def from_dict(cls, values: dict[str, list[float]]) -> "Reliability":
        """Return what `to_dict` gave."""
        return cls(**{name: np.array(counts) for name, counts in values.items()})

    @property
    def error(self) -> float:
        """The expected calibration error, in 15 bins (Guo et al., ICML 2017); 0 is perfect."""
        return float(np.abs(self.sure - self.right).sum() / max(self.voxels.sum(), 1))


def fit_temperature(
    probability_KN: NDArray[np.float32],
    true_N: NDArray[np.integer],
    weight_N: NDArray[np.float64],
) -> float:
    """Return the T that makes the true classes most likely under p^(1/T), normalised."""
    log_KN = np.log(np.maximum(probability_KN, _LEAST))
    true_1N = true_N.astype(np.int64)[None]

    def loss(log_temperature: float) -> float:
        scaled_KN = log_KN / np.float32(np.exp(log_temperature))
        scaled_KN -= scaled_KN.max(0)
        said_N = np.take_along_axis(scaled_KN, true_1N, 0)[0] - np.log(np.exp(scaled_KN).sum(0))
        return float(-(weight_N * said_N).sum() / weight_N.sum())

    bounds = (-np.log(_HOTTEST), np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
