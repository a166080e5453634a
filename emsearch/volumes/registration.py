"""Whether labels lie on the image that they belong to, or were shifted against it.

Axes: Y X voxels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shift", "label_shift"]

_REACH_VX = 24  # largest shift that is looked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """Where labels would fit the image best."""

    y_vx: int
    """Move the labels by this much along y to fit."""
    x_vx: int
    fit_here: float
    """Correlation of the image with the mean grey value of each class, as the labels lie."""
    fit_there: float
    """The same after the move."""

    @property
    def is_doubtful(self) -> bool:
        """Whether the labels would fit clearly better elsewhere."""
        far = max(abs(self.y_vx), abs(self.x_vx)) >= 2
        return far and self.fit_there > 0.15 and self.fit_there > 1.1 * self.fit_here


def label_shift(image_YX: NDArray[Any], labels_YX: NDArray[Any]) -> Shift:
    """Return the shift of labels at which they explain a section's grey values best.

    Each class is given its mean grey value; that picture is correlated with the image at all shifts
    of at most 24 voxels. A section without contrast between classes gives no shift.
    """
    grey_YX = image_YX.astype(np.float64) - image_YX.mean()
    painted_YX = np.zeros_like(grey_YX)
    for number in np.unique(labels_YX):
        painted_YX[labels_YX == number] = grey_YX[labels_YX == number].mean()
    painted_YX -= painted_YX.mean()
    scale = np.linalg.norm(grey_YX) * np.linalg.norm(painted_YX)
    if scale == 0:
        return Shift(y_vx=0, x_vx=0, fit_here=0.0, fit_there=0.0)
    spectrum = np.fft.rfft2(grey_YX) * np.fft.rfft2(painted_YX).conj()
    fit_YX = np.fft.irfft2(spectrum, s=grey_YX.shape) / scale
    reach = [min(_REACH_VX, (size - 1) // 2) for size in grey_YX.shape]
    near_YX = np.roll(fit_YX, reach, axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    y, x = (int(place) for place in np.unravel_index(near_YX.argmax(), near_YX.shape))
    return Shift(
        y_vx=y - reach[0],
        x_vx=x - reach[1],
        fit_here=float(fit_YX[0, 0]),
        fit_there=float(near_YX.max()),
    )
