"""The outermost modules: from an image to logits.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

import torch
from torch import Tensor, nn

from emsearch.errors import SpecError
from emsearch.networks.parts import Shop
from emsearch.trees.arithmetic import divisor
from emsearch.trees.plan import Plan

__all__ = ["Network", "network"]


class Network(nn.Module):
    """A body, its predictor and perhaps a CRF-RNN; with two dimensions sections go one by one."""

    def __init__(self, body: nn.Module, predictor: nn.Module, crf: nn.Module | None) -> None:
        super().__init__()
        self.body = body
        self.predictor = predictor
        self.crf = crf
        self.features = 0
        """Channels that the body gives."""
        self.is_planar = False
        self.divisor_zyx = (1, 1, 1)
        """What sizes must be multiples of."""

    def forward(self, image_BCZYX: Tensor) -> Tensor:
        """Return logits_BKZYX of the image's size. Raises SpecError for a size that cannot be."""
        logits_BKZYX, _ = self.predict(image_BCZYX, image_BCZYX)
        return logits_BKZYX

    def predict(self, given_BCZYX: Tensor, image_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits_BKZYX and the features_BCZYX that they were made from.

        `image_BCZYX` is what a CRF-RNN compares; the rest of the network sees `given_BCZYX`.
        """
        check_size(given_BCZYX, self.divisor_zyx)
        if self.is_planar:
            depth = given_BCZYX.shape[2]
            features_NCYX = self.body(_folded(given_BCZYX))
            logits_BKZYX = _unfolded(self.predictor(features_NCYX), depth)
            features_BCZYX = _unfolded(features_NCYX, depth)
        else:
            features_BCZYX = self.body(given_BCZYX)
            logits_BKZYX = self.predictor(features_BCZYX)
        if self.crf is not None:
            logits_BKZYX = self.crf(logits_BKZYX, image_BCZYX)
        return logits_BKZYX, features_BCZYX


def check_size(image_BCZYX: Tensor, divisor_zyx: tuple[int, int, int]) -> None:
    """Raise SpecError where the image's size is no multiple of what a network divides it by."""
    size_zyx = tuple(image_BCZYX.shape[2:])
    if any(size % step for size, step in zip(size_zyx, divisor_zyx, strict=True)):
        raise SpecError(f"a size of {size_zyx} is no multiple of {divisor_zyx}; pad or crop it")


def _folded(image_BCZYX: Tensor) -> Tensor:
    return image_BCZYX.transpose(1, 2).flatten(0, 1)  # (B Z) C Y X


def _unfolded(image_NCYX: Tensor, depth: int) -> Tensor:
    return torch.unflatten(image_NCYX, 0, (-1, depth)).transpose(1, 2)  # B C Z Y X


def network(plan: Plan, channels: int, shop: Shop) -> tuple[Network, int]:
    """Return a whole network."""
    inside = Shop(dimensions=plan.get("dimensions"), classes=shop.classes, make=shop.make)
    body, width = shop.make(plan.children[0], channels, inside)
    predictor, classes = shop.make(plan.children[1], width, inside)
    crf = shop.make(plan.children[2], classes, inside)[0] if len(plan.children) > 2 else None
    made = Network(body, predictor, crf)
    made.features, made.divisor_zyx = width, divisor(plan)
    made.is_planar = inside.dimensions == 2
    return made, classes
