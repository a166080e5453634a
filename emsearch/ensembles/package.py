"""Write an ensemble as a folder that runs without the study: trees, weights, a card to read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from emsearch.ensembles.count import Entry
from emsearch.ensembles.scoring import SplitResult
from emsearch.inference.card import CARD, Card, PackedMember
from emsearch.inference.ensemble import Ensemble, load_ensemble
from emsearch.records.files import replacing, write_json
from emsearch.records.order import EnsembleOrder, Member, tree_of
from emsearch.records.score import Split
from emsearch.records.version import code_version
from emsearch.trees.arithmetic import Target, describe

__all__ = ["Ensemble", "card_of", "load_ensemble", "pack"]


def card_of(task: EnsembleOrder, entry: Entry, results: Mapping[Split, SplitResult]) -> Card:
    """Return the card of an ensemble that was scored; its weights' files are still to be named."""
    members = {member.trial: member for member in (*task.pool, *task.baselines)}
    mean, std = task.dataset.moments
    classes = task.dataset.classes
    return Card(
        name=task.study or "ensemble",
        classes=classes,
        voxel_nm=task.dataset.volumes[0].voxel_nm,
        mean=mean,
        std=std,
        members=tuple(
            _packed(members[trial], weight, len(classes))
            for trial, weight in entry.ballot.weights.items()
        ),
        method=entry.method,
        combine="majority" if entry.ballot.is_majority else "mean",
        temperature=entry.temperature,
        scores={
            split.value: asdict(result.scores[entry.name]) for split, result in results.items()
        },
        found={
            split.value: {
                "gains": result.gains if entry.kind == "ensemble" else {},
                "disagreement": result.disagreement.get(entry.name),
                "calibration": result.calibration[entry.name],
            }
            for split, result in results.items()
        },
        emsearch=code_version(),
        torch=torch.__version__,
    )


def _packed(member: Member, weight: float, classes: int) -> PackedMember:
    facts = describe(tree_of(member), Target(classes=classes, patch_zyx=member.patch_zyx))
    return PackedMember(
        weights="",
        sha256="",
        weight=weight,
        tree=member.tree,
        patch_zyx=member.patch_zyx,
        trial=member.trial,
        halo_zyx=facts.halo_zyx,
    )


def pack(folder: Path, card: Card, weights: Sequence[Path]) -> None:
    """Write an ensemble into `folder`, an empty or absent one; `weights` are the members' files."""
    members = []
    for number, (member, source) in enumerate(zip(card.members, weights, strict=True)):
        name = f"members/{number:02d}.pt"
        (folder / "members").mkdir(parents=True, exist_ok=True)
        content = source.read_bytes()
        with replacing(folder / name) as scratch:
            scratch.write_bytes(content)
        digest = sha256(content).hexdigest()
        members.append({**asdict(member), "weights": name, "sha256": digest})
    write_json(folder / CARD, {**asdict(card), "members": members}, indent=1)
    with replacing(folder / "README.md") as scratch:
        scratch.write_text(_readme(card), encoding="utf-8")


def _readme(card: Card) -> str:
    """Return the card for readers."""
    members = ", ".join(f"{member.trial} ({member.weight:.3f})" for member in card.members)
    halo = tuple(max(member.halo_zyx[axis] for member in card.members) for axis in range(3))
    how = "by majority" if card.combine == "majority" else "by the weighted mean of probabilities"
    lines = [
        f"# {card.name}: an ensemble of {len(card.members)} networks",
        "",
        (
            f"Segments electron-microscopy volumes with voxels of {_size(card.voxel_nm)} nm "
            f"(z, y, x) into {', '.join(card.classes)} (label values 0 to {len(card.classes) - 1})."
        ),
        "",
        "    emsearch segment THIS_FOLDER VOLUME OUT.zarr",
        "",
        "    import emsearch",
        '    labels = emsearch.load_ensemble("THIS_FOLDER").segment(image)  # z, y, x',
        "",
        "## Scores",
        "",
        "| split | mean IoU | " + " | ".join(card.classes) + " | accuracy |",
        "| --- |" + " --- |" * (len(card.classes) + 2),
        *(_score_row(split, score) for split, score in card.scores.items()),
        "",
        *_gain_lines(card),
        *_finding_lines(card),
        "## Networks",
        "",
        (
            f"Chosen by {card.method} on validation data and combined {how}. Members (trial, "
            f"weight): {members}. A voxel's class depends on voxels up to {halo[0]}, {halo[1]}, "
            f"{halo[2]} (z, y, x) away."
        ),
        "",
        (
            f"Made by emsearch {card.emsearch} with torch {card.torch}. Grey values g are given to "
            f"the networks as (g - {card.mean:.6g}) / {card.std:.6g}. Probabilities that are "
            f"written are calibrated with temperature {card.temperature:.3g}."
        ),
        "",
        "## How to cite",
        "",
        (
            f"Cite the data that the networks were trained on, and: *emsearch {card.emsearch}, "
            f"ensemble {card.name!r}*. The method descends from Guay et al., Dense cellular "
            "segmentation for EM using 2D-3D neural network ensembles, Scientific Reports 11:2561 "
            "(2021), doi 10.1038/s41598-021-81590-0."
        ),
        "",
    ]
    return "\n".join(lines)


def _gain_lines(card: Card) -> list[str]:
    """Return a table of what the ensemble gains, with 90 % intervals."""
    rows = [
        f"| {split} | {rival} | "
        + " | ".join(_interval(one) for one in (gain, *gain["iou_K"]))
        + " |"
        for split, found in card.found.items()
        for rival, gain in found["gains"].items()
    ]
    if not rows:
        return []
    return [
        "Gain in overlap over its rivals, with 90 % bootstrap intervals over places:",
        "",
        "| split | over | mean IoU | " + " | ".join(card.classes) + " |",
        "| --- | --- |" + " --- |" * (len(card.classes) + 1),
        *rows,
        "",
    ]


def _finding_lines(card: Card) -> list[str]:
    said = []
    for split, found in card.found.items():
        errors = found["calibration"]
        differ = found["disagreement"]
        apart = "" if differ is None else f"two members differ on {differ:.1%} of the voxels; "
        said.append(
            f"On {split}: {apart}expected calibration error {errors['error']:.3f}, with the "
            f"temperature {errors['tempered_error']:.3f}."
        )
    return [*said, ""] if said else []


def _interval(gain: Mapping[str, float] | None) -> str:
    if gain is None:
        return "-"
    return f"{gain['difference']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"


def _size(voxel_nm: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in voxel_nm)


def _score_row(split: str, score: dict[str, Any]) -> str:
    values = [score["mean_iou"], *score["iou_K"], score["accuracy"]]
    return f"| {split} | " + " | ".join("-" if v is None else f"{v:.3f}" for v in values) + " |"
