"""Carry an ensemble order out: select on validation, score on test beside the rivals, pack.

Axes: K class, Z Y X voxels in array order.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from emsearch.ensembles.calibrate import fit_temperature
from emsearch.ensembles.count import Count, Entry
from emsearch.ensembles.keeping import Kept
from emsearch.ensembles.package import card_of, pack
from emsearch.ensembles.poll import Asked, draw_sample, largest_sample, poll
from emsearch.ensembles.pool import Pool
from emsearch.ensembles.scoring import SplitResult, count_split, result_of
from emsearch.ensembles.select import Choice, best_single, select
from emsearch.ensembles.showing import draw_overlays
from emsearch.errors import SpecError
from emsearch.inference.device import pick_device, reproducible
from emsearch.inference.ensemble import load_network
from emsearch.inference.part import parts_of
from emsearch.inference.predict import Predictor, tiling_of
from emsearch.inference.score import Ballot
from emsearch.records.dataset import Dataset
from emsearch.records.event import AskedToLeaveError, Outcome, Post, leave_if_asked
from emsearch.records.order import EnsembleOrder, Member, tree_of
from emsearch.records.score import Split
from emsearch.records.trial import Cause

__all__ = ["run_ensemble"]

_FOLDERS = {"ensemble": "best", "baseline_ensemble": "baseline"}
_FITTED = 200_000  # voxels that the temperature is fitted on

Results = dict[Split, SplitResult]


def run_ensemble(task: EnsembleOrder, post: Post) -> Outcome:
    """Return the ensemble and its rivals with their scores; pack it and the baseline's own.

    Raises SpecError for an order without trials.
    """
    if not task.pool:
        raise SpecError("an ensemble needs trained trials to select from, and the pool is empty")
    device = pick_device(task.device)
    try:
        entries, results, facts = _selected(task, post, device)
    except AskedToLeaveError as asked:
        return Outcome(cause=asked.cause)
    if not post.holds_claim():
        return Outcome(cause=Cause.CANCELLED, facts={"superseded": True})
    for entry in entries:
        if entry.kind in _FOLDERS:
            _pack(task, post, entry, results, post.study / "ensembles" / _FOLDERS[entry.kind])
    return Outcome(cause=Cause.COMPLETED, facts=facts)


def _selected(
    task: EnsembleOrder, post: Post, device: torch.device
) -> tuple[list[Entry], Results, dict[str, Any]]:
    """Return who was scored, what each came to, and both as facts.

    Raises AskedToLeaveError: answers of trials that were asked by then are kept, and counts of
    blocks that were scored.
    """
    members = {member.trial: member for member in (*task.pool, *task.baselines)}
    with reproducible(device):
        pool = _poll(task, post, device)
        choice = select(pool, task.size, task.methods, task.combine)
        entries = _entries(task, choice, best_single(pool), _temperature(pool, choice))
        del pool
        wanted = sorted({trial for entry in entries for trial in entry.ballot.weights})
        predictors = {trial: _load(members[trial], task, post.study, device) for trial in wanted}
        results = {}
        for split in (Split.VALIDATION, Split.TEST):
            if _has(task.dataset, split):
                parts = parts_of(task.dataset, post.study, split)
                digest = _digest(task, post.study, split, entries, predictors)
                kept = Kept(post=post, split=split, parts=parts, digest=digest)
                count = kept.find() or Count.begin(entries)
                count_split(parts, entries, predictors, count, kept.look_up)
                kept.keep(count)
                results[split] = result_of(count, split)
        paths = draw_overlays(
            parts, count.worst, entries, predictors, (post.folder, task.dataset.classes)
        )
        overlays = [path.relative_to(post.study).as_posix() for path in paths]
    told = [_tell(entry, results) for entry in entries]
    told[0] |= {"left_out_iou": None if np.isnan(choice.left_out_iou) else choice.left_out_iou}
    return entries, results, {"entries": told, "overlays": overlays}


def _poll(task: EnsembleOrder, post: Post, device: torch.device) -> Pool:
    """Return what the pool says of validation voxels. Raises AskedToLeaveError."""
    classes = len(task.dataset.classes)
    tilings = [tiling_of(tree_of(m), classes, m.patch_zyx, device) for m in task.pool]
    parts = parts_of(task.dataset, post.study, Split.VALIDATION)
    sample = draw_sample(parts, classes, tilings, largest_sample(len(task.pool), classes))
    asked = [
        Asked(
            name=f"{member.trial:06d}",
            digest=_digest_of_weights(post.study, member),
            load=partial(_load, member, task, post.study, device),
        )
        for member in task.pool
    ]

    folder = post.study / "ensembles" / "predictions"
    tell = partial(post.progress, of=len(asked))
    pool = poll(sample, asked, folder, tell, partial(leave_if_asked, post))
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
    as_many = max(len(choice.weights), 2)  # at the ensemble's own cost: a fair rival
    if team := task.baselines[:as_many]:
        alike = Ballot(weights={member.trial: 1 / len(team) for member in team})
        entries.append(
            Entry(name="baseline ensemble", kind="baseline_ensemble", method="mean", ballot=alike)
        )
    return entries


def _digest(
    task: EnsembleOrder,
    study: Path,
    split: Split,
    entries: Sequence[Entry],
    predictors: Mapping[int, Predictor],
) -> str:
    """Return a digest of all that the counts of a split rest on."""
    members = [one for one in (*task.pool, *task.baselines) if one.trial in predictors]
    weights = {member.trial: _digest_of_weights(study, member) for member in members}
    tilings = {trial: (one.tiling, one.device.type) for trial, one in sorted(predictors.items())}
    asked = [(one.name, one.ballot, one.temperature) for one in entries]
    volumes = [(volume, volume.slices(split)) for volume in task.dataset.volumes]
    said = f"{sorted(weights.items())} {tilings} {asked} {volumes} {task.dataset.classes}"
    return sha256(said.encode()).hexdigest()


def _digest_of_weights(study: Path, member: Member) -> str:
    return sha256((study / member.weights).read_bytes()).hexdigest()


def _load(member: Member, task: EnsembleOrder, study: Path, device: torch.device) -> Predictor:
    classes = len(task.dataset.classes)
    weights = study / member.weights
    return load_network(tree_of(member), weights, classes, member.patch_zyx, device)


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
