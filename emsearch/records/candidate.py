"""A tree with a recipe: what a search compares."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256

from emsearch.errors import SpecError
from emsearch.trees.node import Tree

__all__ = ["Candidate", "Origin", "Recipe"]


class Origin(StrEnum):
    """Where a candidate came from."""

    BASELINE = "baseline"  # the fixed network that every search must beat
    RANDOM = "random"  # drawn from the space
    TUNED = "tuned"  # a survivor's tree with another recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Training settings that leave the tree unchanged."""

    learning_rate: float = 1e-3
    """Highest learning rate of AdamW."""
    weight_decay: float = 1e-2
    dice_weight: float = 0.5
    """Share of the Dice term in the loss; the rest is cross-entropy. 0 to 1."""
    class_balance: float = 0.0
    """0 weighs every voxel alike in the cross-entropy, 1 every class alike. The sampler shows rare
    classes often already."""
    augmentation: float = 1.0
    """Strength of the augmentations; 0 leaves the patches as they are."""
    batch_size: int = 4
    patch_zyx: tuple[int, int, int] = (1, 256, 256)
    """Voxels along z, y, x that a training patch spans."""
    warmup: float = 0.05
    """Part of the horizon over which the learning rate rises."""
    decay: float = 0.3
    """Last part of the horizon, over which it falls to zero."""
    gradient_clip: float = 5.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.99
    """How much of the averaged weights a step keeps."""

    def __post_init__(self) -> None:
        if not 0 <= self.dice_weight <= 1:
            raise SpecError(f"dice_weight must be between 0 and 1, got {self.dice_weight}")
        if self.learning_rate <= 0:
            raise SpecError(f"learning_rate must be above 0, got {self.learning_rate}")

    def digest(self) -> str:
        """Return 12 hex digits: equal recipes have equal digests."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A tree with a recipe."""

    number: int
    """Its place in the study, from 0: the baseline."""
    tree: Tree
    recipe: Recipe
    origin: Origin
    parent: int | None = None
    """Number of the survivor that a tuned candidate descends from."""
