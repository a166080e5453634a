"""Write an ensemble as a folder that runs without the study: trees, weights, a card to read."""

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from emsearch.inference.ensemble import CARD, Card, Ensemble, load_ensemble
from emsearch.records.files import replacing, write_json

__all__ = ["Ensemble", "load_ensemble", "pack"]


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
    write_json(folder / CARD, {**asdict(card), "members": members})
    with replacing(folder / "README.md") as scratch:
        scratch.write_text(_readme(card), encoding="utf-8")


def _readme(card: Card) -> str:
    """Return the card for readers."""
    members = ", ".join(f"{member.trial} ({member.weight:.3f})" for member in card.members)
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
        f"Chosen by {card.method} on validation data. Members (trial, weight): {members}.",
        "",
        "| split | mean IoU | " + " | ".join(card.classes) + " | accuracy |",
        "| --- |" + " --- |" * (len(card.classes) + 2),
        *(_score_row(split, score) for split, score in card.scores.items()),
        "",
        (
            f"Made by emsearch {card.emsearch} with torch {card.torch}. Grey values g are given to "
            f"the networks as (g - {card.mean:.6g}) / {card.std:.6g}."
        ),
        "",
    ]
    return "\n".join(lines)


def _size(voxel_nm: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in voxel_nm)


def _score_row(split: str, score: dict[str, Any]) -> str:
    values = [score["mean_iou"], *score["iou_K"], score["accuracy"]]
    return f"| {split} | " + " | ".join("-" if v is None else f"{v:.3f}" for v in values) + " |"
