"""A tiny study on disk, orders for it, and a post that notes what it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.records.candidate import Recipe
from emsearch.records.dataset import Dataset, VolumeRecord
from emsearch.records.order import Member, TrainOrder
from emsearch.records.trial import Cause
from emsearch.training.run import run_trial
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.baseline import baseline
from emsearch.trees.node import Tree
from emsearch.volumes.ome import IMAGE, LABELS, array_in, create_volume

CLASSES = ("outside", "cell", "spot")
PATCH_ZYX = (1, 32, 32)
SHAPE_ZYX = (6, 72, 56)


@dataclass(kw_only=True, slots=True)
class FakePost:
    """A post that keeps what is said, and asks to leave when a test wants it to."""

    study: Path
    folder: Path
    said: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    """How often progress was told."""
    stop_after: int | None = None
    """Steps of this attempt after which it is asked to leave."""
    cause: Cause = Cause.PREEMPTED
    claim: bool = True

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        self.said.append(dict(facts))

    def progress(self, done: int, of: int) -> None:
        assert 0 <= done <= of
        self.steps += 1

    def stop_cause(self) -> Cause | None:
        is_time = self.stop_after is not None and self.steps >= self.stop_after
        return self.cause if is_time else None

    def holds_claim(self) -> bool:
        return self.claim


def picture(shape_zyx: tuple[int, int, int], seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return image and labels: discs with spots in them, on noise."""
    rng = np.random.default_rng(seed)
    _, y, x = np.indices(shape_zyx)
    labels = ((np.sin(y / 7) + np.cos(x / 6)) > 0.2).astype(np.uint8)
    labels[(labels == 1) & ((y % 9 < 3) & (x % 11 < 4))] = 2
    grey = np.array([60, 140, 220])[labels] + 25 * rng.standard_normal(shape_zyx)
    return grey.clip(0, 255).astype(np.uint8), labels


def make_study(study: Path, shape_zyx: tuple[int, int, int] = SHAPE_ZYX) -> Dataset:
    """Write one volume into a study's folder and return the dataset."""
    image, labels = picture(shape_zyx)
    group = create_volume(
        study / "volumes" / "v0.zarr", shape_zyx, image.dtype, (40, 4, 4), CLASSES
    )
    array_in(group, IMAGE)[:] = image
    array_in(group, LABELS)[:] = labels
    record = VolumeRecord(
        name="v0",
        zarr="volumes/v0.zarr",
        shape_zyx=shape_zyx,
        voxel_nm=(40, 4, 4),
        train=(0, 4),
        validation=(4, 5),
        test=(5, 6),
        mean=float(image.mean()),
        std=float(image.std()),
    )
    return Dataset(classes=CLASSES, volumes=(record,))


def small_tree(parameters: int = 6000) -> Tree:
    """Return the baseline within so many parameters."""
    target = Target(classes=len(CLASSES), patch_zyx=PATCH_ZYX, voxel_nm=(40, 4, 4))
    return baseline(target, Limits(max_parameters=parameters))


def train_order(dataset: Dataset, **changes: Any) -> TrainOrder:
    """Return an order to train the small tree for 8 steps, looked at after 4 and 8."""
    recipe = Recipe(patch_zyx=PATCH_ZYX, batch_size=2, learning_rate=1e-2, ema_decay=0.8)
    standard: dict[str, Any] = {
        "trial": 3,
        "tree": small_tree().to_dict(),
        "recipe": recipe,
        "seed": 11,
        "dataset": dataset,
        "horizon": 8,
        "until_step": 8,
        "evaluate_at": (4, 8),
        "device": "cpu",
    }
    return TrainOrder(**{**standard, **changes})


def trained_member(study: Path, dataset: Dataset, trial: int, **changes: Any) -> Member:
    """Train a trial of the small tree and return it as a member for ensembles."""
    order = train_order(dataset, trial=trial, seed=trial, **changes)
    post = FakePost(study=study, folder=study / "trials" / f"{trial:04d}" / "attempts" / "a")
    facts = run_trial(order, post).facts
    return Member(
        trial=trial,
        candidate=trial,
        tree=order.tree,
        weights=facts["weights"],
        patch_zyx=order.recipe.patch_zyx,
        score=facts["score"]["mean_iou"],
        seed=trial,
    )
