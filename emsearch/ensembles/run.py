"""Carry an ensemble order out: select on validation, score on test beside the rivals, pack.

Axes: K class, Z Y X voxels in array order.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from emsearch.ensembles.gain import gains_over
from emsearch.ensembles.overlay import write_overlay
from emsearch.ensembles.package import pack
from emsearch.ensembles.poll import draw_sample, poll
from emsearch.ensembles.select import Choice, best_single, select
from emsearch.errors import SpecError
from emsearch.inference.box import Box
from emsearch.inference.device import pick_device, reproducible
from emsearch.inference.ensemble import Card, PackedMember, load_network
from emsearch.inference.predict import Predictor, tiling_of
from emsearch.inference.score import confusions_on, parts_of, predict_votes
from emsearch.metrics.scorecard import score
from emsearch.records.dataset import Dataset
from emsearch.records.event import Outcome, Post
from emsearch.records.order import EnsembleOrder, Member, tree_of
from emsearch.records.score import Score, Split
from emsearch.records.trial import Cause
from emsearch.records.version import code_version

__all__ = ["run_ensemble"]

_OVERLAYS = 2  # sections shown


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """The ensemble or a rival of it."""

    name: str
    kind: str
    method: str
    votes: dict[int, float]
    """Weight by trial."""


def run_ensemble(task: EnsembleOrder, post: Post) -> Outcome:
    """Return the ensemble and its rivals with their scores; pack it and the baseline's own.

    Raises SpecError for an order without trials.
    """
    members = {member.trial: member for member in (*task.pool, *task.baselines)}
    if not task.pool:
        raise SpecError("an ensemble needs trained trials to select from, and the pool is empty")
    device = pick_device(task.device)
    with reproducible(device):
        choices = _choose(task, post, device)
        if (cause := post.stop_cause()) is not None:
            return Outcome(cause=cause)
        entries = _entries(task, *choices)
        wanted = sorted({trial for entry in entries for trial in entry.votes})
        predictors = {trial: _load(members[trial], task, post.study, device) for trial in wanted}
        scores, gains = _score(task.dataset, post, entries, predictors)
        overlays = _draw(task.dataset, post, entries, predictors)
    if not post.holds_claim():
        return Outcome(cause=Cause.CANCELLED, facts={"superseded": True})
    for folder, kind in (("best", "ensemble"), ("baseline", "baseline_ensemble")):
        for entry in entries:
            if entry.kind == kind:
                _pack(task, post, entry, scores[entry.name], post.study / "ensembles" / folder)
    told = [
        {**_tell(entry, scores[entry.name]), "ensemble_gain": gains.get(entry.name, {})}
        for entry in entries
    ]
    return Outcome(cause=Cause.COMPLETED, facts={"entries": told, "overlays": overlays})


def _choose(task: EnsembleOrder, post: Post, device: torch.device) -> tuple[Choice, Choice]:
    """Return the selected ensemble and the best single trial, by their places in the pool."""
    classes = len(task.dataset.classes)
    tilings = [tiling_of(tree_of(m), classes, m.patch_zyx, device) for m in task.pool]
    parts = parts_of(task.dataset, post.study, Split.VALIDATION)
    sample = draw_sample(parts, classes, tilings)
    load: list[Callable[[], Predictor]] = [
        partial(_load, member, task, post.study, device) for member in task.pool
    ]
    pool = poll(sample, load, lambda done: post.progress(done, len(task.pool)))
    return select(pool, task.size), best_single(pool)


def _entries(task: EnsembleOrder, choice: Choice, single: Choice) -> list[_Entry]:
    """Return who is scored: first of each kind the one that counts."""

    def votes(of: Choice) -> dict[int, float]:
        return {task.pool[place].trial: weight for place, weight in of.weights}

    entries = [
        _Entry(name="ensemble", kind="ensemble", method=choice.method, votes=votes(choice)),
        _Entry(name="best single", kind="single", method="single", votes=votes(single)),
    ]
    rivals = sorted(task.baselines, key=lambda member: (-member.score, member.trial))
    for place, member in enumerate(rivals):
        name = "best baseline" if place == 0 else f"baseline, trial {member.trial}"
        entries.append(
            _Entry(name=name, kind="baseline", method="single", votes={member.trial: 1.0})
        )
    team = task.baselines[: task.size]
    if team:
        alike = {member.trial: 1 / len(team) for member in team}
        entries.append(
            _Entry(name="baseline ensemble", kind="baseline_ensemble", method="mean", votes=alike)
        )
    return entries


def _load(member: Member, task: EnsembleOrder, study: Path, device: torch.device) -> Predictor:
    classes = len(task.dataset.classes)
    weights = study / member.weights
    return load_network(tree_of(member), weights, classes, member.patch_zyx, device)


def _score(
    dataset: Dataset,
    post: Post,
    entries: Sequence[_Entry],
    predictors: Mapping[int, Predictor],
) -> tuple[dict[str, dict[str, Score]], dict[str, dict[str, Any]]]:
    """Return by name each entry's score and the ensemble's gain over it, by split.

    The test split is left out where there is none.
    """
    votes = {entry.name: entry.votes for entry in entries}
    scores: dict[str, dict[str, Score]] = {entry.name: {} for entry in entries}
    gains: dict[str, dict[str, Any]] = {}
    for split in (Split.VALIDATION, Split.TEST):
        if not _has(dataset, split):
            continue
        confusions = confusions_on(parts_of(dataset, post.study, split), predictors, votes)
        for name, confusion_CKK in confusions.items():
            scores[name][split.value] = score(confusion_CKK.sum(0), split)
        for name, found in gains_over(entries[0].name, confusions).items():
            gains.setdefault(name, {})[split.value] = asdict(found)
    return scores, gains


def _draw(
    dataset: Dataset,
    post: Post,
    entries: Sequence[_Entry],
    predictors: Mapping[int, Predictor],
) -> list[str]:
    """Write overlays of sections spread over the test split; return their paths in the study."""
    split = Split.TEST if _has(dataset, Split.TEST) else Split.VALIDATION
    shown = {
        label: entry.votes
        for label, kind in (("baseline", "baseline"), ("best single", "single"), _ENSEMBLE)
        if (entry := next((e for e in entries if e.kind == kind), None)) is not None
    }
    paths = []
    for part in parts_of(dataset, post.study, split):
        for section in _sections(part.region):
            labels = predict_votes(part, section, predictors, shown)
            panels = {"truth": part.truth(section)[0]}
            panels |= {label: labels[label][0] for label in shown}
            name = f"{part.volume.record.name}-z{section.start_zyx[0]:04d}.png"
            write_overlay(post.folder / name, part.reader(section)[0], panels)
            paths.append((post.folder / name).relative_to(post.study).as_posix())
    return paths


_ENSEMBLE = ("ensemble", "ensemble")


def _sections(region: Box) -> list[Box]:
    """Return single sections, spread evenly."""
    first, depth = region.start_zyx[0], region.shape_zyx[0]
    count = min(_OVERLAYS, depth)
    places = [first + depth * (2 * turn + 1) // (2 * count) for turn in range(count)]
    return [
        Box(start_zyx=(z, *region.start_zyx[1:]), stop_zyx=(z + 1, *region.stop_zyx[1:]))
        for z in places
    ]


def _pack(
    task: EnsembleOrder, post: Post, entry: _Entry, scores: Mapping[str, Score], folder: Path
) -> None:
    """Write the ensemble beside its place, then move it there at once."""
    members = {member.trial: member for member in (*task.pool, *task.baselines)}
    card = _card(task, entry, scores, members)
    scratch = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        pack(scratch, card, [post.study / members[trial].weights for trial in entry.votes])
        old = folder.with_name(f".{folder.name}.old.{uuid4().hex}")
        if folder.exists():
            folder.rename(old)
        scratch.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _card(
    task: EnsembleOrder,
    entry: _Entry,
    scores: Mapping[str, Score],
    members: Mapping[int, Member],
) -> Card:
    mean, std = _normalisation(task.dataset)
    return Card(
        name=task.study or "ensemble",
        classes=task.dataset.classes,
        voxel_nm=task.dataset.volumes[0].voxel_nm,
        mean=mean,
        std=std,
        members=tuple(
            PackedMember(
                weights="",
                sha256="",
                weight=weight,
                tree=members[trial].tree,
                patch_zyx=members[trial].patch_zyx,
                trial=trial,
            )
            for trial, weight in entry.votes.items()
        ),
        method=entry.method,
        scores={split: asdict(found) for split, found in scores.items()},
        emsearch=code_version(),
        torch=torch.__version__,
    )


def _normalisation(dataset: Dataset) -> tuple[float, float]:
    """Return mean and standard deviation of the training voxels of all volumes together."""
    trained = [volume for volume in dataset.volumes if volume.train is not None]
    slices = [volume.train for volume in trained if volume.train is not None]
    voxels = [
        (end - first) * volume.shape_zyx[1] * volume.shape_zyx[2]
        for volume, (first, end) in zip(trained, slices, strict=True)
    ]
    parts = [count / sum(voxels) for count in voxels]
    mean = sum(part * volume.mean for part, volume in zip(parts, trained, strict=True))
    square = sum(
        part * (volume.std**2 + volume.mean**2) for part, volume in zip(parts, trained, strict=True)
    )
    return mean, (square - mean**2) ** 0.5


def _has(dataset: Dataset, split: Split) -> bool:
    return any(volume.slices(split) is not None for volume in dataset.volumes)


def _tell(entry: _Entry, scores: Mapping[str, Score]) -> dict[str, Any]:
    def values(split: Split) -> dict[str, Any] | None:
        return asdict(scores[split.value]) if split.value in scores else None

    return {
        "name": entry.name,
        "kind": entry.kind,
        "method": entry.method,
        "members": [{"trial": trial, "weight": weight} for trial, weight in entry.votes.items()],
        "validation": values(Split.VALIDATION),
        "test": values(Split.TEST),
    }
