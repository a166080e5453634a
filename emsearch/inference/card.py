"""What an ensemble is, but for its weights: read without torch, so on a login node too."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from emsearch.errors import NotFoundError, SpecError
from emsearch.records.files import read_json

__all__ = ["CARD", "Card", "PackedMember", "read_card"]

CARD = "ensemble.json"
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
    halo_zyx: tuple[int, int, int] = (0, 0, 0)
    """Farthest voxel of the image that a voxel's class depends on, along each axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """All that there is to know about an ensemble but its weights: the file `CARD`."""

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
    combine: Literal["mean", "majority"] = "mean"
    """Whether probabilities are averaged, or each network votes for one class."""
    temperature: float = 1.0
    """Probabilities to the power of its inverse are calibrated on validation."""
    found: dict[str, Any] = field(default_factory=dict)
    """By split: gains over rivals, members' disagreement, calibration error."""
    format: int = FORMAT


def read_card(folder: Path) -> Card:
    """Return the card of the ensemble in `folder`.

    Raises NotFoundError where there is none, SpecError where it is damaged or of another format.
    """
    if not (folder / CARD).is_file():
        raise NotFoundError(f"no ensemble in {folder}: it holds no {CARD}")
    try:
        card = TypeAdapter(Card).validate_python(read_json(folder / CARD))
    except (ValidationError, ValueError) as error:
        raise SpecError(f"{folder / CARD} is no ensemble's card: {error}") from error
    if card.format != FORMAT:
        raise SpecError(f"{folder} has format {card.format}, and this emsearch reads {FORMAT}")
    return card
