"""What a worker is told to do. An order is a JSON file; all its paths are relative to the study."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from emsearch.records.budget import Budget
from emsearch.records.candidate import Recipe
from emsearch.records.dataset import Dataset
from emsearch.records.sections import BoxRange, DatasetSection, VolumeSection, box_range, z_range
from emsearch.trees.node import Tree

__all__ = [
    "EnsembleOrder",
    "ImportOrder",
    "KnownRecipe",
    "Member",
    "Order",
    "Part",
    "ProbeOrder",
    "SegmentOrder",
    "Task",
    "TrainOrder",
    "TuneOrder",
    "read_task",
    "tree_of",
    "trial_folder",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOrder:
    """Carry a trial on until a step."""

    trial: int
    tree: dict[str, Any]
    """The tree as `Tree.to_dict` gives it."""
    recipe: Recipe
    seed: int
    dataset: Dataset
    horizon: int
    """Steps of a full training: the schedule's length, whatever the rungs are."""
    until_step: int
    """Step at which the trial pauses, or completes where it is the horizon."""
    evaluate_at: tuple[int, ...]
    """Steps after which the network is scored on the validation split, in order."""
    budget: Budget = Budget.STEPS
    """What these three count instead of steps."""
    micro_batch: int | None = None
    """Patches in memory at once, None for the whole batch: gradients are accumulated."""
    checkpoint_every_s: float = 300.0
    keep_plateau: bool = False
    """Whether the state from before the decay outlasts the training, to extend it from."""
    compile: bool = False
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOrder:
    """Turn a volume's image and labels into OME-Zarr."""

    name: str
    image: str
    """Absolute path, as the user's study file resolves."""
    labels: str
    classes: tuple[str, ...]
    voxel_nm: tuple[float, float, float]
    train: tuple[int, int] | None = None
    validation: tuple[int, int] | None = None
    test: tuple[int, int] | None = None
    ignore_label: int | None = None
    annotated: tuple[BoxRange, ...] = ()
    """Boxes outside of which labels do not count; none: all of them count."""
    palette: tuple[tuple[int, ...], ...] = ()
    """Colours, or grey values one by one, of the classes; none: labels are class numbers."""

    @classmethod
    def of(cls, dataset: DatasetSection, volume: VolumeSection) -> "ImportOrder":
        """Return the order to import a volume of a study file, whose paths are absolute.

        Raises SpecError where its voxel size is not known.
        """
        own = volume.ignore_label
        return cls(
            name=volume.name,
            image=str(volume.image),
            labels=str(volume.labels),
            classes=dataset.classes,
            voxel_nm=volume.voxel_nm or dataset.known_voxel_nm(),
            train=z_range(volume.train) if volume.train else None,
            validation=z_range(volume.validation) if volume.validation else None,
            test=z_range(volume.test) if volume.test else None,
            ignore_label=dataset.ignore_label if own is None else own,
            annotated=tuple(box_range(text) for text in volume.annotated),
            palette=tuple((one,) if isinstance(one, int) else one for one in dataset.palette),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A trained trial that an ensemble can be made of."""

    trial: int
    candidate: int
    tree: dict[str, Any]
    weights: str
    """File of its averaged weights, relative to the study's folder."""
    patch_zyx: tuple[int, int, int]
    score: float
    """Mean IoU on validation at the end of its training."""
    is_baseline: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleOrder:
    """Select an ensemble on validation, score it beside its rivals on test, draw overlays."""

    pool: tuple[Member, ...]
    """Trials to select from, best first; the baseline's are among them."""
    baselines: tuple[Member, ...]
    """The baseline's trials by repeat: its own ensemble."""
    size: int
    """Largest number of votes."""
    dataset: Dataset
    methods: tuple[str, ...] = ("top_k", "greedy", "diverse")
    """Ways to choose members that are compared by cross-validation."""
    combine: tuple[Literal["mean", "majority"], ...] = ("mean", "majority")
    """The same of ways to combine them."""
    study: str = ""
    """The study's name, for the card."""
    device: str = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeOrder:
    """Do nothing but say where and with what: for `doctor` and for measuring overhead."""

    seconds: float = 0.0
    """How long to wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentOrder:
    """Segment a volume with an ensemble, or some blocks of it. Paths are absolute."""

    ensemble: str
    volume: str
    out: str
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto."""
    probabilities: bool = False
    """Write them too, in 255ths."""
    flips: bool = False
    """Average over mirror images."""
    axes: Literal["z", "zyx"] = "z"
    """Along which axes 2-D networks see sections."""
    blend: Literal["gaussian", "distance"] = "gaussian"
    """Weights of windows that overlap."""
    voxel_nm: tuple[float, float, float] | None = None
    """Of the volume, where its file does not say or is wrong."""
    allow_missing: bool = False
    """Read chunks that a Zarr volume lacks as its fill value, instead of taking them for lost."""
    blocks: tuple[int, ...] | None = None
    """Numbers of the blocks to write; None: all, and to finish."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownRecipe:
    """A recipe that was trained, and what came of it."""

    recipe: Recipe
    score: float | None
    """Mean IoU on validation; None where the training failed."""
    curve: tuple[tuple[int, float], ...] = ()
    """The same at each mark at which it was evaluated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A trial that a tuning order carries out: its own order, and the attempt at that."""

    order: int
    generation: int
    trial: int
    recipe: Recipe | None
    """None: still to be chosen."""
    seed: int = 0
    """Where the recipe is chosen already."""
    micro_batch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneOrder:
    """Try recipes for a survivor, many short trainings in one job: those that it asks for."""

    survivor: int
    """Number of a candidate."""
    training: TrainOrder
    """What each part is, but for its trial, recipe and seed: the recipe is the survivor's own."""
    parts: tuple[Part, ...]
    known: tuple[KnownRecipe, ...]
    """The survivor's own recipe first."""
    shapes: tuple[tuple[int, int, int, int], ...]
    """Batch size and patch along z, y, x that its memory allows."""
    rungs: tuple[int, ...]
    """After which trainings are compared; the last is the horizon."""
    keep: float
    """Part of them that goes on from a rung."""
    seed: int
    """Of the choice of recipes."""
    study_seed: int
    at_once: int | None = None
    """Most trainings at a time; None: as many as the job's devices take."""
    at_once_a_gpu: int = 1


Task = TrainOrder | ImportOrder | EnsembleOrder | SegmentOrder | ProbeOrder | TuneOrder


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A task with its number, its folder, and who wrote it."""

    number: int
    folder: str
    """Where its attempts have their folders, such as trials/0007."""
    kind: str
    """Which task: train, tune, import, ensemble, segment, probe."""
    task: Task
    version: str
    """emsearch's version and commit; a worker of another one refuses the order."""
    threads: int = 1
    """CPU threads of the numerical libraries: fixed here, since results depend on them."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values that `from_dict` reads back."""
        dumped: dict[str, Any] = _ORDERS.dump_python(self, mode="json")
        return dumped

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Order":
        """Return the order that `to_dict` gave `values`. Raises pydantic.ValidationError."""
        return _ORDERS.validate_python(
            {**values, "task": read_task(values["kind"], values["task"])}
        )


TASKS: dict[str, type[Task]] = {
    "train": TrainOrder,
    "tune": TuneOrder,
    "import": ImportOrder,
    "ensemble": EnsembleOrder,
    "segment": SegmentOrder,
    "probe": ProbeOrder,
}
_ORDERS = TypeAdapter(Order)
_TASKS: dict[str, TypeAdapter[Task]] = {kind: TypeAdapter(task) for kind, task in TASKS.items()}


def read_task(kind: str, values: Any) -> Task:
    """Return the task of a kind of order from JSON values. Raises pydantic.ValidationError."""
    return _TASKS[kind].validate_python(values)


def trial_folder(trial: int) -> str:
    """Return a trial's folder, relative to the study's."""
    return f"trials/{trial:06d}"


def tree_of(task: TrainOrder | Member) -> Tree:
    """Return the tree that a task or member names. Raises SpecError."""
    return Tree.from_dict(task.tree)
