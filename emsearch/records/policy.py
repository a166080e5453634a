"""How strong each augmentation is."""

from dataclasses import dataclass, fields

from emsearch.errors import SpecError

__all__ = ["Policy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Strength of each augmentation: 0 leaves it out, 1 is usual; the recipe's multiplies all."""

    mirror: float = 1.0
    """Reflections along z, y, x and, where patches are square, right-angle turns."""
    affine: float = 1.0
    """Rotation, scale and shear in the plane."""
    elastic: float = 1.0
    """Smooth bending in the plane, the same in all sections."""
    misalign: float = 1.0
    """Sections, from one on, shifted against those before."""
    contrast: float = 1.0
    """Brightness and contrast, by patch and by section."""
    gamma: float = 1.0
    """Brightness curve of each section."""
    blur: float = 1.0
    noise: float = 1.0
    """Gaussian noise, as the detector adds it."""
    poisson: float = 1.0
    """Shot noise, as too few electrons give it."""
    stripes: float = 1.0
    """Curtaining: streaks along one direction of a section."""
    missing_section: float = 1.0
    """A section that was lost; in stacks of three or more."""
    missing_part: float = 1.0
    """Part of a section lost behind a straight edge; in stacks of three or more."""
    cutout: float = 1.0
    """Small boxes without image."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise SpecError(f"augmentation {field.name} is below 0; 0 leaves it out")
