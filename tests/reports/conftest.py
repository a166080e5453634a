"""A study as it lies on disk when it has ended, made without training anything."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from skimage import io
from sqlalchemy import Connection

from emsearch.coordinator.rankings import refresh_rankings
from emsearch.ledger import changes, intake, jobs
from emsearch.ledger.store import Ledger, open_ledger
from emsearch.records.candidate import Candidate, Origin, Recipe
from emsearch.records.event import AttemptName, Event, EventKind
from emsearch.records.score import Score, Split
from emsearch.records.spec import parse_spec
from emsearch.records.trial import Cause, OrderState, Stage, TrialState
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

CLASSES = ("intracellular", "membrane", "mitochondria", "synapse", "glia")
RUNGS = (100, 400)
NODES = ("cn1042", "cn1043", "cn2010")
EASE = (0.92, 0.74, 0.81, 0.42, 0.63)  # IoU that a good network has of each class

STUDY_FILE = """\
[study]
name = "vnc"
seed = 2019

[dataset]
classes = ["intracellular", "membrane", "mitochondria", "synapse", "glia"]
voxel_nm = [50, 4.6, 4.6]

[[dataset.volumes]]
image = "image.tif"
labels = "labels.tif"
train = "0:14"
validation = "14:16"
test = "16:20"

[search]
policy = "halving"
candidates = 16
repeats = 2
rungs = [100, 400]
"""


@dataclass(kw_only=True)
class AStudy:
    """Fills a ledger the way the coordinator does."""

    folder: Path
    classes: tuple[str, ...] = CLASSES
    detail: str = "RuntimeError: the loader met a NaN in v0"
    random: Random = field(default_factory=lambda: Random(7))
    now_s: float = 1_790_000_000.0
    jobs: int = 0

    def make(self, *, stage: Stage = Stage.FINISHED, candidates: int = 16) -> Ledger:
        """Write the folder and return its ledger: searched, tuned and combined."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "study.toml").write_text(STUDY_FILE)
        ledger = open_ledger(self.folder / "ledger.sqlite", create=True)
        self.study = ledger.create_study(self._row(stage))
        lease = ledger.acquire(self.study)
        with ledger.writing(lease) as connection:
            self._search(connection, candidates)
            if candidates < 12:
                self._tune(connection, survivors=(3, 1, 2), tuned=1)
            else:
                self._tune(connection, survivors=(3, 5, 11), tuned=3)
            if stage == Stage.FINISHED:
                self._combine(connection)
            refresh_rankings(connection, self.study, RUNGS)
        ledger.release(lease)
        return ledger

    def _row(self, stage: Stage) -> dict[str, Any]:
        spec = parse_spec(
            {
                "study": {"name": "vnc", "seed": 2019},
                "dataset": {
                    "classes": self.classes,
                    "voxel_nm": (50, 4.6, 4.6),
                    "volumes": [{"image": "i.tif", "labels": "l.tif", "train": "0:14"}],
                },
                "search": {"policy": "halving", "candidates": 16, "repeats": 2, "rungs": RUNGS},
                "tune": {"survivors": 3, "trials": 4},
            }
        )
        return {
            "name": spec.study.name,
            "seed": spec.study.seed,
            "spec": spec.model_dump(mode="json"),
            "version": "0.1.0+abc1234",
            "stage": stage,
            "created_s": self.now_s,
            "ended_s": self.now_s + 3240 if stage == Stage.FINISHED else None,
        }

    def _search(self, connection: Connection, count: int) -> None:
        target = Target(classes=5, patch_zyx=(1, 128, 128), batch_size=4, voxel_nm=(50, 4.6, 4.6))
        limits = Limits(
            max_parameters=2_000_000, max_memory_gb=4, max_step_s=None, gflops=50, gbytes_s=10
        )
        space = make_space(["encoder_decoder_2d"], {})
        self.trees = [draw(space, 2019, number, target, limits).tree for number in range(count + 1)]
        self._candidate(connection, 0, self.trees[0], Origin.BASELINE, quality=0.70)
        for number in range(1, count + 1):
            quality = 0.56 + 0.17 * self.random.random()
            self._candidate(connection, number, self.trees[number], Origin.RANDOM, quality=quality)
        facts = {
            "max_parameters=300,000; it needs 453,579": 7,
            "max_parameters=300,000; it needs 312,372": 31,
            "drawn before": 2,
        }
        changes.record_decision(connection, self.study, "redrawn", facts, 0.0)

    def _tune(self, connection: Connection, survivors: tuple[int, ...], tuned: int) -> None:
        facts = {"survivors": list(survivors)}
        changes.record_decision(connection, self.study, "survivors", facts, self.now_s)
        number = len(self.trees)
        for survivor in survivors[:tuned]:
            for trial in range(4):
                recipe = Recipe(
                    learning_rate=10 ** self.random.uniform(-3.6, -2.2),
                    weight_decay=10 ** self.random.uniform(-4, -1),
                    dice_weight=round(self.random.random(), 3),
                    augmentation=round(1.5 * self.random.random(), 3),
                )
                candidate = Candidate(
                    number=number,
                    tree=self.trees[survivor],
                    recipe=recipe,
                    origin=Origin.TUNED,
                    parent=survivor,
                )
                self._trials(connection, candidate, repeats=1, quality=0.70 + 0.012 * trial)
                number += 1

    def _candidate(
        self, connection: Connection, number: int, tree: Tree, origin: Origin, quality: float
    ) -> None:
        candidate = Candidate(number=number, tree=tree, recipe=Recipe(), origin=origin)
        repeats = 4 if origin == Origin.BASELINE else 2
        self._trials(connection, candidate, repeats=repeats, quality=quality)

    def _trials(
        self, connection: Connection, candidate: Candidate, *, repeats: int, quality: float
    ) -> None:
        arithmetic = {
            "parameters": int(10 ** self.random.uniform(4.6, 6.2)),
            "flops": 10**9,
            "memory_gb": 0.8,
            "step_s": 0.2,
        }
        fresh = changes.NewCandidate(
            candidate=candidate,
            digest=candidate.tree.digest(),
            recipe_digest=candidate.recipe.digest(),
            arithmetic=arithmetic,
            draw=candidate.number or None,
        )
        [row] = changes.add_candidates(connection, self.study, [fresh])
        for repeat in range(repeats):
            fate = self._fate(candidate, repeat)
            new = changes.NewTrial(
                candidate_id=row,
                repeat=repeat,
                seed=1000 * candidate.number + repeat,
                until_step=RUNGS[0] if fate == Cause.PAUSED else RUNGS[-1],
                expected_s=20.0,
            )
            [trial] = changes.add_trials(connection, self.study, [new])
            self._run(connection, trial, fate, quality + self.random.gauss(0, 0.012))

    def _fate(self, candidate: Candidate, repeat: int) -> Cause:
        failures = {(4, 0): Cause.DIVERGED, (9, 1): Cause.COLLAPSED, (13, 0): Cause.ERROR}
        if cause := failures.get((candidate.number, repeat)):
            return cause
        stopped = candidate.origin == Origin.RANDOM and candidate.number % 2 == 0
        return Cause.PAUSED if stopped else Cause.COMPLETED

    def _run(self, connection: Connection, trial: int, fate: Cause, quality: float) -> None:
        if trial % 7 == 0:  # a first attempt that was preempted
            self._attempt(connection, trial, Cause.PREEMPTED, [])
            changes.move_orders(connection, [self._order], OrderState.RUNNING, OrderState.WAITING)
            changes.move_trial(connection, trial, TrialState.RUNNING, TrialState.WAITING)
        steps = {Cause.PAUSED: [100], Cause.COMPLETED: [100, 200, 300, 400]}.get(fate, [100])
        scores = [(step, self.score(quality, step)) for step in steps]
        self._attempt(connection, trial, fate, scores if fate != Cause.ERROR else [])
        last = scores[-1][1].mean_iou
        done = OrderState.DONE if fate in {Cause.PAUSED, Cause.COMPLETED} else OrderState.FAILED
        changes.move_orders(connection, [self._order], OrderState.RUNNING, done)
        verdict: dict[Cause, tuple[TrialState, dict[str, Any]]] = {
            Cause.PAUSED: (TrialState.PAUSED, {"score": last}),
            Cause.COMPLETED: (TrialState.COMPLETED, {"score": last, "weights": f"trials/{trial}"}),
        }
        failed = (TrialState.FAILED, {"cause": fate, "detail": self.detail})
        state, values = verdict.get(fate, failed)
        changes.move_trial(connection, trial, TrialState.RUNNING, state, values)
        if state == TrialState.PAUSED:
            changes.move_trial(connection, trial, state, TrialState.STOPPED)

    def score(self, quality: float, step: int, split: Split = Split.VALIDATION) -> Score:
        """Return a score as a network of this quality would have after so many steps."""
        grown = 1 - 0.62 * math.exp(-step / 110)
        ious = tuple(
            min(0.99, ease * grown * quality / 0.7 + self.random.gauss(0, 0.008)) for ease in EASE
        )
        return Score(
            split=split,
            iou_K=ious,
            mean_iou=sum(ious) / len(ious),
            mean_iou_foreground=sum(ious[1:]) / (len(ious) - 1),
            accuracy=0.5 + 0.45 * grown,
            voxels=2_097_152,
        )

    def _attempt(
        self, connection: Connection, trial: int, cause: Cause, scores: list[tuple[int, Score]]
    ) -> None:
        self.jobs += 1
        token = f"vnc-{self.jobs:010x}"
        self._order = trial  # an order for each trial, in the same order
        started = self.now_s + 30 * self.jobs
        jobs.begin_job(connection, self.study, token, [[self._order]], started)
        jobs.job_was_submitted(connection, token, [str(self.jobs)])
        facts: list[tuple[EventKind, float, dict[str, Any]]] = [
            (EventKind.STARTED, started, {"node": NODES[self.jobs % 3], "pid": 77})
        ]
        for step, score in scores:
            said = {"step": step, "score": asdict(score), "loss": 1.2 - score.mean_iou}
            facts.append((EventKind.EVALUATED, started + step, {**said, "train_s": 0.21 * step}))
        ended = {"cause": cause, "step": scores[-1][0] if scores else 0}
        if cause not in {Cause.PAUSED, Cause.COMPLETED}:
            ended["detail"] = self.detail
        facts.append((EventKind.ENDED, started + 95, ended))
        name = AttemptName(token=token, index=0, order=self._order, restart=0)
        events = [
            Event(attempt=name, number=number, kind=kind, at_s=at_s, facts=said)
            for number, (kind, at_s, said) in enumerate(facts)
        ]
        intake.take_in(connection, self.study, events)
        jobs.end_jobs(connection, [self.jobs], started + 96)

    def _combine(self, connection: Connection) -> None:
        last = self._order  # as many trials as orders
        overlays = [self._overlay(z) for z in (16, 18)]
        rivals = [
            ("ensemble", "ensemble", "greedy", {last: 0.5, last - 1: 0.25, last - 3: 0.25}, 0.755),
            ("best single", "single", "", {last: 1.0}, 0.728),
            ("best baseline", "baseline", "", {2: 1.0}, 0.706),
            (
                "baseline ensemble",
                "baseline_ensemble",
                "mean",
                dict.fromkeys((1, 2, 3, 4), 0.25),
                0.722,
            ),
        ]
        entries = [
            {
                "name": name,
                "kind": kind,
                "method": method,
                "members": [{"trial": one, "weight": weight} for one, weight in members.items()],
                "validation": asdict(self.score(quality, 400)),
                "test": asdict(self.score(quality - 0.02, 400, Split.TEST)),
            }
            for name, kind, method, members, quality in rivals
        ]
        changes.put_ensembles(connection, self.study, entries)
        self._say_overlays(connection, {"entries": entries, "overlays": overlays})

    def _say_overlays(self, connection: Connection, result: dict[str, Any]) -> None:
        order = changes.add_order(connection, self.study, "ensemble", {})
        jobs.begin_job(connection, self.study, "vnc-ensemble", [[order]], self.now_s)
        name = AttemptName(token="vnc-ensemble", index=0, order=order, restart=0)
        facts = {"cause": Cause.COMPLETED, **result}
        ended = Event(attempt=name, number=0, kind=EventKind.ENDED, at_s=self.now_s, facts=facts)
        intake.take_in(connection, self.study, [ended])

    def _overlay(self, z: int) -> str:
        path = Path("tasks") / "ensemble-000099" / f"z{z:04d}.png"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        panel = np.add.outer(np.arange(96), np.arange(96)) % 96 * 2
        picture = np.stack([np.hstack([panel] * 5)] * 3, axis=-1).astype(np.uint8)
        io.imsave(self.folder / path, picture, check_contrast=False)
        return str(path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that has ended; tests read it and leave it as it is."""
    return tmp_path_factory.mktemp("runs") / "vnc"


@pytest.fixture(scope="session")
def ledger(folder: Path) -> Iterator[Ledger]:
    made = AStudy(folder=folder).make()
    yield made
    made.close()


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[Callable[..., tuple[Ledger, Path]]]:
    """A function that makes a study of its own for a test: fields of AStudy, and a stage."""
    made: list[Ledger] = []

    def make(stage: Stage = Stage.FINISHED, **fields: Any) -> tuple[Ledger, Path]:
        folder = tmp_path / f"study{len(made)}"
        made.append(AStudy(folder=folder, **fields).make(stage=stage, candidates=4))
        return made[-1], folder

    yield make
    for one in made:
        one.close()
