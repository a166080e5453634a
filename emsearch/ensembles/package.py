"""An ensemble as a folder that runs without the study: trees, weights, what it takes and gives.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from emsearch.errors import NotFoundError, SpecError
from emsearch.inference.box import Box, Reader
from emsearch.inference.committee import Committee
from emsearch.inference.device import pick_device
from emsearch.inference.predict import Predictor
from emsearch.networks.build import build
from emsearch.records.files import read_json, replacing, write_json
from emsearch.trees.node import Tree
from emsearch.volumes.dataset import mirrored

__all__ = ["Card", "Ensemble", "PackedMember", "load_ensemble", "load_network", "pack"]

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedMember:
    """One network of an ensemble."""

    weights: str
    """File of its weights, relative to the ensemble's folder."""
    sha256: str
    """Of that file."""
    weight: float
    """Of its vote; those of an ensemble sum to 1."""
    tree: dict[str, Any]
    patch_zyx: tuple[int, int, int]
    trial: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """All that there is to know about an ensemble but its weights: `ensemble.json`."""

    name: str
    classes: tuple[str, ...]
    voxel_nm: tuple[float, float, float]
    """Of the volumes that it was trained on."""
    mean: float
    """Grey value that becomes 0."""
    std: float
    """Grey values that become 1."""
    members: tuple[PackedMember, ...]
    method: str
    scores: dict[str, Any]
    """By split; as `records.score.Score`."""
    emsearch: str
    torch: str
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True, slots=True)
class Ensemble:
    """An ensemble that is ready to segment."""

    card: Card
    committee: Committee

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the label values 0, 1, ..."""
        return self.card.classes

    def reader(self, image_ZYX: Any) -> Reader:
        """Return what reads a raw image, an array in memory or a lazy one, normalised."""
        mean, std = np.float32(self.card.mean), np.float32(self.card.std)

        def read(box: Box) -> NDArray[np.float32]:
            grey: NDArray[np.float32] = mirrored(image_ZYX, box.ranges).astype(np.float32)
            return (grey - mean) / std

        return read

    def probability(self, image_ZYX: Any) -> NDArray[np.float32]:
        """Return the probability_KZYX of a raw image that fits into memory, classes and all."""
        z, y, x = image_ZYX.shape
        return self.committee.probability(self.reader(image_ZYX), (z, y, x), Box.whole((z, y, x)))

    def segment(self, image_ZYX: Any) -> NDArray[np.uint8]:
        """Return the labels_ZYX of a raw image; class probabilities are held a block at a time."""
        z, y, x = image_ZYX.shape
        labels_ZYX = np.empty((z, y, x), np.uint8)
        for box, found_ZYX in self.committee.labels(self.reader(image_ZYX), (z, y, x)):
            labels_ZYX[box.slices()] = found_ZYX
        return labels_ZYX


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
    write_json(folder / "ensemble.json", {**asdict(card), "members": members})
    with replacing(folder / "README.md") as scratch:
        scratch.write_text(_readme(card), encoding="utf-8")


def load_ensemble(folder: Path | str, device: str = "auto") -> Ensemble:
    """Return the ensemble in `folder`, on cpu, cuda, or whichever there is.

    Raises NotFoundError where there is none, SpecError where it is damaged or of another format.
    """
    folder = Path(folder)
    if not (folder / "ensemble.json").is_file():
        raise NotFoundError(f"no ensemble in {folder}: it holds no ensemble.json")
    try:
        card = TypeAdapter(Card).validate_python(read_json(folder / "ensemble.json"))
    except (ValidationError, ValueError) as error:
        raise SpecError(f"{folder / 'ensemble.json'} is no ensemble's card: {error}") from error
    if card.format != FORMAT:
        raise SpecError(f"{folder} has format {card.format}, and this emsearch reads {FORMAT}")
    where = pick_device(device)
    predictors = tuple(_open_member(folder, member, card, where) for member in card.members)
    weights = tuple(member.weight for member in card.members)
    return Ensemble(card=card, committee=Committee(members=predictors, weights=weights))


def load_network(
    tree: Tree, weights: Path, classes: int, patch_zyx: tuple[int, int, int], device: torch.device
) -> Predictor:
    """Return the predictor of a trained network. Raises NotFoundError without its weights."""
    if not weights.is_file():
        raise NotFoundError(f"no weights at {weights}")
    network = build(tree, 1, classes, 0)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.requires_grad_(requires_grad=False)
    return Predictor.of(tree, network.to(device), classes, patch_zyx, device)


def _open_member(folder: Path, member: PackedMember, card: Card, device: torch.device) -> Predictor:
    path = folder / member.weights
    if path.is_file() and sha256(path.read_bytes()).hexdigest() != member.sha256:
        raise SpecError(
            f"{path} is damaged: its sha256 is not the one in ensemble.json; copy it anew"
        )
    tree = Tree.from_dict(member.tree)
    return load_network(tree, path, len(card.classes), member.patch_zyx, device)


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
