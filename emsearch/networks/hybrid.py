"""Hybrid networks: a 2-D stage whose class maps and features feed a 3-D stage.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from emsearch.networks.network import Network, network
from emsearch.networks.parts import Made, Shop
from emsearch.trees.plan import Plan

__all__ = ["Hybrid", "StagedLogits", "Turn", "hybrid"]


class Turn(IntEnum):
    """Which stage of a cascade learns."""

    BOTH = 0
    """Both at once, no gradient crossing: where nobody gave them turns."""
    FIRST = 1
    """The 2-D stage, which predicts alone meanwhile."""
    SECOND = 2
    """The 3-D stage, over what the finished 2-D stage predicts."""


class StagedLogits(NamedTuple):
    """What a hybrid gives while it trains: the logits of both stages."""

    logits_BKZYX: Tensor
    """Of the 3-D stage: what the network predicts."""
    auxiliary_BKZYX: Tensor
    """Of the 2-D stage: has a loss of its own."""
    auxiliary_weight: float
    """Weight of that loss."""


class Hybrid(nn.Module):
    """Runs a 2-D stage, hands on what it found, and runs a 3-D stage over that.

    As a cascade, no gradient crosses from the 3-D stage to the 2-D stage: they learn in turns, the
    3-D stage over predictions of the finished 2-D stage. It can also be given such predictions
    from a store: `carry` makes them, `refine` takes them.
    """

    turn: Tensor

    def __init__(self, planar: Network, volumetric: Network, plan: Plan) -> None:
        super().__init__()
        self.planar = planar
        self.volumetric = volumetric
        self.is_cascade = plan.get("coupling") == "cascade"
        self.auxiliary_weight = float(plan.get("auxiliary"))
        self.carried = plan.children[1].get("carries").split("+")
        self.register_buffer("turn", torch.tensor(int(Turn.BOTH)), persistent=self.is_cascade)

    def forward(self, image_BCZYX: Tensor) -> Tensor | StagedLogits:
        """Return logits_BKZYX; while both stages train, those of both."""
        turn = int(self.turn) if self.is_cascade else Turn.BOTH
        if turn == Turn.FIRST:
            logits_BKZYX, _ = self.planar.predict(image_BCZYX, image_BCZYX)
            return logits_BKZYX
        if self.training and turn == Turn.SECOND:
            return self.refine(self._finished(image_BCZYX), image_BCZYX)
        carried_BCZYX, auxiliary_BKZYX = self.carry(image_BCZYX)
        logits_BKZYX = self.refine(carried_BCZYX, image_BCZYX)
        if self.training:
            return StagedLogits(logits_BKZYX, auxiliary_BKZYX, self.auxiliary_weight)
        return logits_BKZYX

    def carry(self, image_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the 2-D stage hands on, and its logits_BKZYX."""
        logits_BKZYX, features_BCZYX = self.planar.predict(image_BCZYX, image_BCZYX)
        parts = {
            "maps": lambda: logits_BKZYX.softmax(1),
            "features": lambda: features_BCZYX,
            "image": lambda: image_BCZYX,
        }
        carried_BCZYX = torch.cat([parts[name]() for name in self.carried], 1)
        return carried_BCZYX.detach() if self.is_cascade else carried_BCZYX, logits_BKZYX

    @torch.no_grad()
    def _finished(self, image_BCZYX: Tensor) -> Tensor:
        """Return what the 2-D stage hands on, as at inference."""
        self.planar.eval()
        carried_BCZYX, _ = self.carry(image_BCZYX)
        return carried_BCZYX

    def refine(self, carried_BCZYX: Tensor, image_BCZYX: Tensor) -> Tensor:
        """Return the 3-D stage's logits_BKZYX from what the 2-D stage handed on."""
        logits_BKZYX, _ = self.volumetric.predict(carried_BCZYX, image_BCZYX)
        return logits_BKZYX

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Take states of the first format, too, which knew no turns."""
        if self.is_cascade and f"{prefix}turn" not in state_dict:
            state_dict = {**state_dict, f"{prefix}turn": torch.tensor(int(Turn.BOTH))}
        super()._load_from_state_dict(state_dict, prefix, *rest)


def hybrid(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return a 2-D stage followed by a 3-D stage."""
    first, edge, second = plan.children
    planar, _ = network(first, channels, shop)
    widths = {"maps": shop.classes, "features": planar.features, "image": channels}
    carried = sum(widths[name] for name in edge.get("carries").split("+"))
    volumetric, classes = network(second, carried, shop)
    return Hybrid(planar, volumetric, plan), classes
