"""What a segmentation is worth."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Score", "Split"]


class Split(StrEnum):
    """The part of the data that something was made or measured on."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Overlap of a prediction with the truth over one whole split."""

    split: Split
    iou_K: tuple[float | None, ...]
    """Intersection over union of each class; None where truth and prediction lack the class."""
    mean_iou: float
    """Mean of the classes that are there."""
    mean_iou_foreground: float
    """The same without class 0."""
    accuracy: float
    """Fraction of voxels with the right class."""
    voxels: int
    """Voxels scored; ignored ones are not among them."""
