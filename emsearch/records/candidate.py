"""A tree with a recipe: what a search compares."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from math import inf, prod

from emsearch.errors import SpecError
from emsearch.records.chance import seed_of
from emsearch.records.policy import Policy
from emsearch.trees.node import Tree

__all__ = ["Candidate", "Optimizer", "Origin", "Recipe", "Schedule", "Weighting", "trial_seed"]


class Origin(StrEnum):
    """Where a candidate came from."""

    BASELINE = "baseline"  # the fixed network that every search must beat
    RANDOM = "random"  # drawn from the space
    BRED = "bred"  # a mutation or crossover of good ones
    TUNED = "tuned"  # a survivor's tree with another recipe


class Optimizer(StrEnum):
    """What takes the steps."""

    ADAMW = "adamw"
    SGD = "sgd"  # with Nesterov's momentum; wants a learning rate of about 0.01 to 0.1


class Schedule(StrEnum):
    """How the learning rate goes once it has risen."""

    LATE = "late"  # stays, and falls over the last part: rungs and extension do not disturb it
    POLYNOMIAL = "polynomial"  # falls all the way, as (1 - part) ** 0.9
    COSINE = "cosine"  # falls all the way, as half a wave


class Weighting(StrEnum):
    """What a voxel weighs in the cross-entropy."""

    CLASSES = "classes"  # by class alone, as class_balance says
    EDGES = "edges"  # floor, class balance and more at borders: Guay et al. 2021


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Training settings that leave the tree unchanged."""

    learning_rate: float = 1e-3
    """Highest learning rate."""
    weight_decay: float = 1e-2
    optimizer: Optimizer = Optimizer.ADAMW
    momentum: float = 0.9
    """Of SGD."""
    dice_weight: float = 0.5
    """Share of the overlap term in the loss; the rest is cross-entropy. 0 to 1."""
    focal: float = 0.0
    """Exponent by which the cross-entropy leaves sure voxels alone; 0 is plain, 2 usual."""
    miss_weight: float = 0.5
    """Weight of missed voxels against false ones in the overlap term: 0.5 is Dice, else Tversky."""
    weighting: Weighting = Weighting.CLASSES
    class_balance: float = 0.0
    """0 weighs every voxel alike in the cross-entropy, 1 every class alike. The sampler shows rare
    classes often already."""
    weight_floor: float = 0.01
    """Least weight of a labelled voxel, where borders are weighed."""
    edge_weight: float = 0.882
    """Height of the weight at borders."""
    edge_sigma_vx: float = 6.0
    """How far from a border it reaches."""
    deep_supervision: float = 0.0
    """Weight of the loss at half resolution, halved at each lower one; 0 leaves it out."""
    augmentation: float = 1.0
    """Strength of the augmentations; 0 leaves the patches as they are."""
    policy: Policy = field(default_factory=Policy)
    """Strength of each augmentation, multiplied by `augmentation`."""
    batch_size: int = 4
    patch_zyx: tuple[int, int, int] = (1, 256, 256)
    """Voxels along z, y, x that a training patch spans."""
    schedule: Schedule = Schedule.LATE
    warmup: float = 0.05
    """Part of the horizon over which the learning rate rises."""
    decay: float = 0.3
    """Last part of the horizon, over which it falls to zero, in the late schedule."""
    gradient_clip: float = 5.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.99
    """How much of the averaged weights a step keeps."""

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                allowed = f"at least {low:g}" if high == inf else f"between {low:g} and {high:g}"
                raise SpecError(f"{name} must be {allowed}, got {value}")
        if self.learning_rate <= 0:
            raise SpecError(f"learning_rate must be above 0, got {self.learning_rate}")

    def digest(self) -> str:
        """Return 12 hex digits: equal recipes have equal digests."""
        return _digest(self)

    @property
    def batch_vx(self) -> int:
        """Voxels of a batch."""
        return self.batch_size * prod(self.patch_zyx)


@lru_cache  # thousands of candidates of a study share one recipe
def _digest(recipe: Recipe) -> str:
    return sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:12]


_BOUNDS: dict[str, tuple[float, float]] = {
    "weight_decay": (0, inf),
    "momentum": (0, 1),
    "dice_weight": (0, 1),
    "focal": (0, inf),
    "miss_weight": (0, 1),
    "class_balance": (0, 1),
    "weight_floor": (0, 1),
    "edge_weight": (0, inf),
    "edge_sigma_vx": (0.1, 100),
    "deep_supervision": (0, inf),
    "augmentation": (0, inf),
    "batch_size": (1, inf),
    "warmup": (0, 1),
    "decay": (0, 1),
    "ema_decay": (0, 1),
}


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


def trial_seed(study_seed: int, tree: Tree, recipe: Recipe, repeat: int) -> int:
    """Return the seed of a candidate's trial: who else runs, and in which order, is no matter."""
    return seed_of(study_seed, tree.digest(), recipe.digest(), repeat)
