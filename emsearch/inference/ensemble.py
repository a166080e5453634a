"""A trained ensemble, read from the folder that it is.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emsearch.errors import NotFoundError, SpecError
from emsearch.inference.box import Box, Reader
from emsearch.inference.card import CARD, Card, PackedMember, read_card
from emsearch.inference.committee import Committee, tempered
from emsearch.inference.device import keep_memory, pick_device, place
from emsearch.inference.predict import Predictor, Stored, tiling_of
from emsearch.inference.views import Manner
from emsearch.networks.build import build
from emsearch.networks.fold import folded
from emsearch.trees.node import Tree
from emsearch.volumes.dataset import mirrored

__all__ = ["Ensemble", "load_ensemble", "load_network"]

_HELD_BYTES = {"cpu": 1 << 28, "cuda": 1 << 31}
"""Of members' weights in memory at once, by the kind of device; one more may be there in turn."""
_NO_GREY = 1e6  # standard deviations from the mean: a mark, such as the least float there is


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
        """Return what reads a raw image, an array in memory or a lazy one, normalised.

        Values of floats that are not finite, or absurd, count as the mean: they mark voxels without
        an image, and a network would spread them. Imports refuse them: nobody should train on them.
        """
        mean, std = np.float32(self.card.mean), np.float32(self.card.std)

        def read(box: Box) -> NDArray[np.float32]:
            raw = mirrored(image_ZYX, box.ranges)
            with np.errstate(over="ignore"):  # of float64; what comes of it is no grey value
                grey: NDArray[np.float32] = raw.astype(np.float32)
                grey -= mean
                grey /= std
            if raw.dtype.kind == "f":
                grey[~(np.abs(grey) < _NO_GREY)] = 0  # NaN is not smaller either
            return grey

        return read

    def probability(self, image_ZYX: Any) -> NDArray[np.float32]:
        """Return the probability_KZYX of a raw image that fits into memory, classes and all.

        Calibrated where the card says how; that changes no label.
        """
        z, y, x = image_ZYX.shape
        region = Box.whole((z, y, x))
        raw_KZYX = self.committee.predict(self.reader(image_ZYX), (z, y, x), region)
        calibrated_KZYX: NDArray[np.float32] = (
            tempered(raw_KZYX, self.card.temperature).cpu().numpy()
        )
        return calibrated_KZYX

    def segment(self, image_ZYX: Any) -> NDArray[np.uint8]:
        """Return the labels_ZYX of a raw image; class probabilities are held a block at a time."""
        z, y, x = image_ZYX.shape
        labels_ZYX = np.empty((z, y, x), np.uint8)
        for box, found_ZYX in self.committee.labels(self.reader(image_ZYX), (z, y, x)):
            labels_ZYX[box.slices()] = found_ZYX
        return labels_ZYX


def load_ensemble(
    folder: Path | str,
    device: str = "auto",
    manner: Manner = Manner(),  # noqa: B008 - frozen
    blend: str = "gaussian",
) -> Ensemble:
    """Return the ensemble in `folder`, on cpu, cuda, cuda:N, or whichever there is.

    `manner` says how it looks at volumes, `blend` (gaussian, distance) how windows that overlap are
    averaged. Raises NotFoundError where there is none, SpecError where it is damaged or of another
    format.
    """
    folder = Path(folder)
    card = read_card(folder)
    where = pick_device(device)
    if where.type == "cpu":
        keep_memory()
    committee = Committee(
        members=tuple(_members(folder, card, where, blend)),
        weights=tuple(member.weight for member in card.members),
        is_majority=card.combine == "majority",
        manner=manner,
    )
    return Ensemble(card=card, committee=committee)


def load_network(
    tree: Tree, weights: Path, classes: int, patch_zyx: tuple[int, int, int], device: torch.device
) -> Predictor:
    """Return the predictor of a trained network. Raises NotFoundError without its weights."""
    if not weights.is_file():
        raise NotFoundError(f"no weights at {weights}")
    network = build(tree, 1, classes, 0)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network = folded(network).requires_grad_(requires_grad=False)
    return Predictor.of(tree, place(network, device), classes, patch_zyx, device)


def _members(
    folder: Path, card: Card, device: torch.device, blend: str
) -> Iterator[Predictor | Stored]:
    """Yield the members: the first ones stay in memory, as many as there is room for.

    The others are read from disk for each block anew: all take turns, so that keeping the latest
    instead would keep none until its next turn.
    """
    room = _HELD_BYTES[device.type]
    classes = len(card.classes)
    for member in card.members:
        path = folder / member.weights
        _verify(path, member)
        tree = Tree.from_dict(member.tree)
        tiling = tiling_of(tree, classes, member.patch_zyx, device).blended(blend)
        load = partial(load_network, tree, path, classes, member.patch_zyx, device)
        stored = Stored(tiling=tiling, classes=classes, device=device, load=load)
        size = path.stat().st_size
        if size <= room:
            room -= size
            yield stored.opened()
        else:
            yield stored


def _verify(path: Path, member: PackedMember) -> None:
    """Raise NotFoundError without a member's weights, and SpecError where they are damaged."""
    if not path.is_file():
        raise NotFoundError(f"no weights at {path}")
    with path.open("rb") as file:
        if file_digest(file, "sha256").hexdigest() != member.sha256:
            raise SpecError(f"{path} is damaged: its sha256 is not the one in {CARD}; copy it anew")
