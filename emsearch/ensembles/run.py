"""Carry an ensemble order out: select on validation, score on test beside the rivals, pack.

Axes: K class, Z Y X voxels in array order.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from emsearch.ensembles.calibrate import fit_temperature
from emsearch.ensembles.overlay import write_overlay
from emsearch.ensembles.package import card_of, pack
from emsearch.ensembles.poll import Asked, draw_sample, largest_sample, poll
from emsearch.ensembles.pool import Pool
from emsearch.ensembles.scoring import Entry, SplitResult, score_split
from emsearch.ensembles.select import Choice, best_single, select
from emsearch.ensembles.worst import worst_place
from emsearch.errors import SpecError
from emsearch.inference.box import Box
from emsearch.inference.device import pick_device, reproducible
from emsearch.inference.ensemble import load_network
from emsearch.inference.predict import Predictor, tiling_of
from emsearch.inference.score import Ballot, judge, parts_of
from emsearch.records.dataset import Dataset
from emsearch.records.event import Outcome, Post
from emsearch.records.order import EnsembleOrder, Member, tree_of
from emsearch.records.score import Split
from emsearch.records.trial import Cause

__all__ = ["run_ensemble"]

_OVERLAYS = 2  # sections shown
_FITTED = 200_000  # voxels that the temperature is fitted on

Results = dict[Split, SplitResult]


def run_ensemble(task: EnsembleOrder, post: Post) -> Outcome:
    """Return the ensemble and its rivals with their scores; pack it and the baseline's own.

    Raises SpecError for an order without trials.
    """
    members = {member.trial: member for member in (*task.pool, *task.baselines)}
    if not task.pool:
        raise SpecError("an ensemble needs trained trials to select from, and the pool is empty")
    device = pick_device(task.device)
    with reproducible(device):
        pool = _poll(task, post, device)
        if pool is None:
            return Outcome(cause=post.stop_cause() or Cause.PREEMPTED)
        choice = select(pool, task.size, task.methods, task.combine)
        entries = _entries(task, choice, best_single(pool), _temperature(pool, choice))
        del pool
        wanted = sorted({trial for entry in entries for trial in entry.ballot.weights})
        predictors = {trial: _load(members[trial], task, post.study, device) for trial in wanted}
        results = {
            split: score_split(
                parts_of(task.dataset, post.study, split), split, entries, predictors
            )
            for split in (Split.VALIDATION, Split.TEST)
            if _has(task.dataset, split)
        }
        overlays = _draw(task.dataset, post, entries, predictors)
    if not post.holds_claim():
        return Outcome(cause=Cause.CANCELLED, facts={"superseded": True})
    for folder, kind in (("best", "ensemble"), ("baseline", "baseline_ensemble")):
        for entry in entries:
            if entry.kind == kind:
                _pack(task, post, entry, results, post.study / "ensembles" / folder)
    told = [_tell(entry, results) for entry in entries]
    told[0] |= {"left_out_iou": None if np.isnan(choice.left_out_iou) else choice.left_out_iou}
    return Outcome(cause=Cause.COMPLETED, facts={"entries": told, "overlays": overlays})


def _poll(task: EnsembleOrder, post: Post, device: torch.device) -> Pool | None:
    """Return what the pool says of validation voxels, None where it is time to leave."""
    classes = len(task.dataset.classes)
    tilings = [tiling_of(tree_of(m), classes, m.patch_zyx, device) for m in task.pool]
    parts = parts_of(task.dataset, post.study, Split.VALIDATION)
    sample = draw_sample(parts, classes, tilings, largest_sample(len(task.pool), classes))
    asked = [
        Asked(
            name=f"{member.trial:06d}",
            digest=sha256((post.study / member.weights).read_bytes()).hexdigest(),
            load=partial(_load, member, task, post.study, device),
        )
        for member in task.pool
    ]

    def after(done: int) -> bool:
        post.progress(done, len(asked))
        return post.stop_cause() is None

    folder = post.study / "ensembles" / "predictions"
    pool = poll(sample, asked, folder, after)
    if pool is not None:
        names = {f"{one.name}.zarr" for one in asked}
        for path in folder.glob("[0-9]*.zarr"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)  # of a trial that is no longer in the pool
    return pool


def _temperature(pool: Pool, choice: Choice) -> float:
    """Return the temperature that suits the ensemble on a sample of the pool's voxels."""
    some = slice(None, None, max(len(pool.true_N) // _FITTED, 1))
    sum_KN = sum(
        np.float32(weight)
        * (pool.votes(place) if choice.combine == "majority" else pool.probability_MKN[place])[
            :, some
        ]
        for place, weight in choice.weights
    )
    true_N = pool.true_N[some]
    return fit_temperature(sum_KN / np.sum(sum_KN, 0), true_N, pool.stands_for_K[true_N])


def _entries(
    task: EnsembleOrder, choice: Choice, single: Choice, temperature: float
) -> list[Entry]:
    """Return who is scored: first of each kind the one that counts."""

    def ballot(of: Choice) -> Ballot:
        weights = {task.pool[place].trial: weight for place, weight in of.weights}
        return Ballot(weights=weights, is_majority=of.combine == "majority")

    def alone(member: Member) -> Ballot:
        return Ballot(weights={member.trial: 1.0})

    entries = [
        Entry(
            name="ensemble",
            kind="ensemble",
            method=choice.method,
            ballot=ballot(choice),
            temperature=temperature,
        ),
        Entry(name="best single", kind="single", method="single", ballot=ballot(single)),
    ]
    rivals = sorted(task.baselines, key=lambda member: (-member.score, member.trial))
    for place, member in enumerate(rivals):
        name = "best baseline" if place == 0 else f"baseline, trial {member.trial}"
        entries.append(Entry(name=name, kind="baseline", method="single", ballot=alone(member)))
    if team := task.baselines[: task.size]:
        alike = Ballot(weights={member.trial: 1 / len(team) for member in team})
        entries.append(
            Entry(name="baseline ensemble", kind="baseline_ensemble", method="mean", ballot=alike)
        )
    return entries


def _load(member: Member, task: EnsembleOrder, study: Path, device: torch.device) -> Predictor:
    classes = len(task.dataset.classes)
    weights = study / member.weights
    return load_network(tree_of(member), weights, classes, member.patch_zyx, device)


def _draw(
    dataset: Dataset,
    post: Post,
    entries: Sequence[Entry],
    predictors: Mapping[int, Predictor],
) -> list[str]:
    """Write overlays of sections spread over the test split; return their paths in the study."""
    split = Split.TEST if _has(dataset, Split.TEST) else Split.VALIDATION
    shown = {
        label: entry.ballot
        for label, kind in (("baseline", "baseline"), ("best single", "single"), _ENSEMBLE)
        if (entry := next((e for e in entries if e.kind == kind), None)) is not None
    }
    paths = []
    worst: tuple[float, Callable[[], None]] = (-1.0, lambda: None)
    for part in parts_of(dataset, post.study, split):
        for section in _sections(part.region):
            verdict = judge(part, section, predictors, shown)
            panels = {"truth": part.truth(section)[0]}
            panels |= {label: verdict.labels(label)[0] for label in shown}
            name = f"{part.volume.record.name}-z{section.start_zyx[0]:04d}"
            image_YX = part.reader(section)[0]
            paths.append(post.folder / f"{name}.png")
            write_overlay(paths[-1], image_YX, panels)
            found = worst_place(panels["truth"], panels[next(reversed(panels))])
            if found is not None and found[0] > worst[0]:
                cut = {label: labels_YX[found[1]] for label, labels_YX in panels.items()}
                path = post.folder / f"{name}{WORST}.png"
                worst = found[0], partial(write_overlay, path, image_YX[found[1]], cut)
    worst[1]()
    paths += post.folder.glob(f"*{WORST}.png")
    return [path.relative_to(post.study).as_posix() for path in paths]


_ENSEMBLE = ("ensemble", "ensemble")
WORST = "-worst"
"""Ends the name of the picture of the place where the ensemble is wrong most."""


def _sections(region: Box) -> list[Box]:
    """Return single sections, spread evenly."""
    first, depth = region.start_zyx[0], region.shape_zyx[0]
    count = min(_OVERLAYS, depth)
    places = [first + depth * (2 * turn + 1) // (2 * count) for turn in range(count)]
    return [
        Box(start_zyx=(z, *region.start_zyx[1:]), stop_zyx=(z + 1, *region.stop_zyx[1:]))
        for z in places
    ]


def _pack(task: EnsembleOrder, post: Post, entry: Entry, results: Results, folder: Path) -> None:
    """Write the ensemble beside its place, then move it there at once."""
    members = {member.trial: member for member in (*task.pool, *task.baselines)}
    card = card_of(task, entry, results)
    scratch = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        pack(scratch, card, [post.study / members[trial].weights for trial in entry.ballot.weights])
        old = folder.with_name(f".{folder.name}.old.{uuid4().hex}")
        if folder.exists():
            folder.rename(old)
        scratch.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _has(dataset: Dataset, split: Split) -> bool:
    return any(volume.slices(split) is not None for volume in dataset.volumes)


def _tell(entry: Entry, results: Results) -> dict[str, Any]:
    def by_split(what: str) -> dict[str, Any]:
        return {
            split.value: found[entry.name]
            for split, result in results.items()
            if entry.name in (found := getattr(result, what))
        }

    def values(split: Split) -> dict[str, Any] | None:
        return asdict(results[split].scores[entry.name]) if split in results else None

    return {
        "name": entry.name,
        "kind": entry.kind,
        "method": entry.method,
        "combine": "majority" if entry.ballot.is_majority else "mean",
        "members": [
            {"trial": trial, "weight": weight} for trial, weight in entry.ballot.weights.items()
        ],
        "validation": values(Split.VALIDATION),
        "test": values(Split.TEST),
        "ensemble_gain": by_split("gains"),
        "disagreement": by_split("disagreement"),
        "calibration": by_split("calibration"),
        "temperature": entry.temperature,
    }
