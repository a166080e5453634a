"""The sections of a study file: their keys, defaults and bounds.

Sections and keys are those of the TOML file. Paths are relative to the file.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from emsearch.errors import SpecError
from emsearch.records.budget import Budget, budget_step
from emsearch.records.candidate import Optimizer, Recipe, Schedule, Weighting
from emsearch.records.policy import Policy

__all__ = [
    "FINALIST_SEEDS",
    "BoxRange",
    "ClusterSection",
    "DatasetSection",
    "EnsembleSection",
    "SearchSection",
    "Section",
    "SpaceSection",
    "StudySection",
    "TrainingSection",
    "TuneSection",
    "VolumeSection",
    "box_range",
    "z_range",
]

FINALIST_SEEDS = 3
"""Least full trainings of a finalist."""

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
BoxRange = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Section(BaseModel):
    """Base of all sections: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StudySection(Section):
    """What the study is called and what its chance comes from."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    database: str = ""
    """URL of the database that the ledger is kept in; empty: a file in the study's folder."""

    @field_validator("database")
    @classmethod
    def _refuse_passwords(cls, url: str) -> str:
        if re.search(r"//[^/@]*:[^/]*@|password=", url):
            raise PydanticCustomError(
                "database_password",
                "holds a password, and study files are copied and shown; put it into ~/.pgpass "
                "(host:port:database:user:password), or give the whole URL by EMSEARCH_DATABASE",
            )
        return url


class VolumeSection(Section):
    """One labelled volume and the slices of it that are for training, validation and test."""

    name: Name | Literal[""] = ""
    """Defaults to the volume's place in the file: v0, v1, ..."""
    image: Path
    labels: Path
    train: str | None = None
    """Slices along z as "first:end", end not included."""
    validation: str | None = None
    test: str | None = None
    voxel_nm: tuple[Size, Size, Size] | None = None
    """Size of its voxels, whatever its metadata and the dataset say."""
    ignore_label: int | None = None
    """Instead of the dataset's: 0 trains and scores only where a label is above 0."""
    annotated: tuple[str, ...] = ()
    """Boxes "z:z, y:y, x:x" outside of which labels do not count; none: all of them count."""

    @field_validator("annotated")
    @classmethod
    def _check_boxes(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            box_range(text)
        return texts

    @field_validator("train", "validation", "test")
    @classmethod
    def _check_range(cls, text: str | None) -> str | None:
        if text is not None:
            z_range(text)
        return text


class DatasetSection(Section):
    """The volumes, their voxel size and what their labels count."""

    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """Names of the label values 0, 1, ..."""
    voxel_nm: tuple[Size, Size, Size] | None = None
    """Size of a voxel along z, y, x in nm, of volumes whose metadata do not say it."""
    volumes: Annotated[tuple[VolumeSection, ...], Field(min_length=1)]
    ignore_label: int | None = None
    """Label value of voxels that are neither trained on nor scored."""
    palette: tuple[tuple[int, int, int] | int, ...] = ()
    """Colour or grey value of each class in labels that do not hold class numbers; one more than
    there are classes is that of `ignore_label`."""

    def known_voxel_nm(self) -> tuple[float, float, float]:
        """Return the voxel size. Raises SpecError where nothing says it: it is not guessed."""
        if self.voxel_nm is None:
            raise SpecError(
                "dataset.voxel_nm: missing, and the images' metadata do not say it; give the voxel "
                "size along z, y, x in nm, such as voxel_nm = [50, 4.6, 4.6]"
            )
        return self.voxel_nm


class SpaceSection(Section):
    """The trees that may be drawn."""

    families: Annotated[tuple[str, ...], Field(min_length=1)] = ("encoder_decoder_2d",)
    max_parameters: Positive = 40_000_000
    max_memory_gb: Annotated[float, Field(gt=0)] = 12.0
    """Largest predicted memory of a training step."""
    max_step_s: Annotated[float, Field(gt=0)] | None = None
    """Longest predicted training step on a device of the two speeds below."""
    gflops: Annotated[float, Field(gt=0)] = 10_000.0
    """Thousand million floating-point operations a second that the device reaches."""
    gbytes_s: Annotated[float, Field(gt=0)] = 300.0
    """Thousand million bytes a second that the device moves."""
    ranges: dict[str, Any] = {}
    """Ranges of settings that replace the families' own, by setting."""


class TrainingSection(Section):
    """The recipe that candidates start from, and how training is carried out."""

    batch_size: Positive = Recipe().batch_size
    patch_zyx: tuple[Positive, Positive, Positive] = Recipe().patch_zyx
    optimizer: Optimizer = Recipe().optimizer
    learning_rate: Annotated[float, Field(gt=0)] = Recipe().learning_rate
    weight_decay: NotNegative = Recipe().weight_decay
    momentum: Share = Recipe().momentum
    schedule: Schedule = Recipe().schedule
    warmup: Share = Recipe().warmup
    decay: Share = Recipe().decay
    gradient_clip: Annotated[float, Field(gt=0)] = Recipe().gradient_clip
    ema_decay: Share = Recipe().ema_decay
    dice_weight: Share = Recipe().dice_weight
    focal: NotNegative = Recipe().focal
    miss_weight: Share = Recipe().miss_weight
    weighting: Weighting = Recipe().weighting
    class_balance: Share = Recipe().class_balance
    weight_floor: Share = Recipe().weight_floor
    edge_weight: NotNegative = Recipe().edge_weight
    edge_sigma_vx: Annotated[float, Field(ge=0.1, le=100)] = Recipe().edge_sigma_vx
    deep_supervision: NotNegative = Recipe().deep_supervision
    augmentation: NotNegative = Recipe().augmentation
    policy: dict[str, NotNegative] = {}
    """Strength of single augmentations, such as elastic = 0.5; those not named have 1."""
    budget: Budget = Budget.STEPS
    """What `search.rungs` count."""
    evaluations: Positive = 4
    """How often a full training is scored on validation, besides the rungs."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 300.0
    keep_plateau: bool = False
    """Keep of each finished training the state from before its decay, to extend it from."""
    compile: bool = False
    """Compile networks: pays for long trainings on a GPU, where all patches have one shape."""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("policy")
    @classmethod
    def _check_policy(cls, policy: dict[str, float]) -> dict[str, float]:
        known = [field.name for field in fields(Policy)]
        if unknown := sorted({*policy} - {*known}):
            raise ValueError(f"no augmentation {unknown[0]!r}; known: {', '.join(known)}")
        return policy

    def recipe(self) -> Recipe:
        """Return the recipe that every random candidate is trained with."""
        named = {field.name for field in fields(Recipe)} - {"policy"}
        return Recipe(**{name: getattr(self, name) for name in named}, policy=Policy(**self.policy))

    def seconds(self, amount: float, step_s: float) -> float:
        """Return the seconds that `amount` of the budget takes at `step_s` a step."""
        if self.budget == Budget.SECONDS:
            return amount
        return step_s * amount / budget_step(self.budget, self.recipe())


class SearchSection(Section):
    """How many random trees are trained, how often and how long."""

    candidates: Positive = 20
    """Random trees; the baseline comes on top."""
    repeats: Positive = 2
    """Trainings of each with different seeds."""
    rungs: Annotated[tuple[Positive, ...], Field(min_length=1)] = (2_000, 10_000)
    """Training steps (or what `training.budget` says) at which candidates are compared; the last is
    a full training."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Part of the candidates that goes on from a rung."""
    policy: Annotated[
        str, Field(pattern=r"^(halving|default|random|evolution|repeats[1-9]\d?)$")
    ] = "default"
    """What trainings are spent on: `halving` compares all candidates at each rung at once, and its
    results do not depend on the number of jobs; `default` chooses for each free slot between a new
    candidate, one more seed and more training; `random`, `repeatsN` and `evolution` are honest
    comparisons."""
    goal: Literal["best_networks", "reliable_architecture"] = "best_networks"
    """What candidates are ranked by: the best of their seeds, or their mean."""
    trials: Positive | None = None
    """Trainings of other policies than `halving`, besides the baseline's and the finalists' last
    seeds; by default candidates x repeats."""
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of training, of all jobs together, after which no further one is begun."""
    wall_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours since launch after which no further training is begun."""
    finalists: Annotated[int, Field(ge=1)] = 3
    """Candidates that get at least three full trainings in the end."""

    @property
    def trainings(self) -> int:
        """Trainings that the budget allows."""
        return self.trials or self.candidates * self.repeats

    @property
    def baselines(self) -> int:
        """Least number of the baseline's seeds: the finalists'."""
        return self.repeats if self.policy == "halving" else max(self.repeats, FINALIST_SEEDS)

    @field_validator("rungs")
    @classmethod
    def _check_rungs(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if list(rungs) != sorted(set(rungs)):
            raise ValueError("rungs must rise, such as [100, 400]")
        return rungs


class TuneSection(Section):
    """How the survivors' recipes are tuned."""

    survivors: Annotated[int, Field(ge=0)] = 3
    trials: Annotated[int, Field(ge=0)] = 8
    """Recipes tried for each survivor."""
    batch: Positive = 4
    """Recipes asked for at once; results do not depend on how many run at the same time."""
    engine: Literal["optuna", "ray"] = "optuna"
    """`optuna`: a job for each training; `ray`: Ray Tune runs all those of a survivor in one job,
    many short ones on shares of its GPUs or cores, and stops early what falls behind at a rung."""
    at_once: Positive | None = None
    """Trainings at a time in a job of Ray; by default as many as its GPUs (times the profile's
    orders_at_once), or cores, take."""


class EnsembleSection(Section):
    """What the ensemble is made of."""

    size: Annotated[int, Field(ge=1, le=64)] = 4
    """Largest number of votes, and the baseline's number of seeds."""
    pool: Positive = 16
    """Best trials on validation to select from."""
    methods: Annotated[tuple[Literal["top_k", "greedy", "diverse"], ...], Field(min_length=1)] = (
        "top_k",
        "greedy",
        "diverse",
    )
    """Ways to choose members; cross-validation decides between them."""
    combine: Annotated[tuple[Literal["mean", "majority"], ...], Field(min_length=1)] = (
        "mean",
        "majority",
    )
    """Ways to combine members, the same."""


class ClusterSection(Section):
    """Where and how orders run."""

    executor: Literal["local", "slurm"] = "local"
    profile: str = "generic"
    """Of the Slurm cluster: a name in slurm/, or the path of a file."""
    sbatch: dict[str, str | int | float | bool] = {}
    """Options of sbatch over the profile's; false drops one."""
    sbatch_cpu: dict[str, str | int | float | bool] = {}
    """The same for orders that need no GPU."""
    sbatch_coordinator: dict[str, str | int | float | bool] = {}
    """The same for the job of a detached coordinator."""
    max_jobs: Positive = 2
    """Jobs at a time."""
    threads: Positive = 1
    """CPU threads of an order; a trial's result depends on it."""
    min_job_s: Annotated[float, Field(ge=0)] = 20.0
    """Short orders are packed into one job until it is expected to last this long."""


def z_range(text: str) -> tuple[int, int]:
    """Return (first, end) of "first:end". Raises ValueError that says what is wanted."""
    try:
        first, end = (int(part) for part in text.split(":"))
    except ValueError:
        raise ValueError(
            f'{text!r} is no range of slices; write "first:end", such as "0:14"'
        ) from None
    if not 0 <= first < end:
        raise ValueError(f'{text!r} holds no slice; write "first:end" with 0 <= first < end')
    return first, end


def box_range(text: str) -> BoxRange:
    """Return the ranges of "z:z, y:y, x:x". Raises ValueError that says what is wanted."""
    ranges = tuple(z_range(part) for part in text.split(","))
    if len(ranges) != 3:
        raise ValueError(f'{text!r} is no box; write "z:z, y:y, x:x", such as "0:4, 50:90, 0:200"')
    return ranges
