"""The outermost modules: from an image to logits.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

import torch
from torch import Tensor, nn

from emsearch.errors import SpecError
from emsearch.networks.parts import Made, Shop
from emsearch.trees.arithmetic import divisor
from emsearch.trees.effective import Plan

__all__ = ["Network", "network"]


class Network(nn.Module):
    """A body and its predictor; with two dimensions it takes the sections one by one."""

    def __init__(self, body: nn.Module, predictor: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.body = body
        self.predictor = predictor
        self.is_planar = plan.get("dimensions") == 2
        self.divisor_zyx = divisor(plan)

    def forward(self, image_BCZYX: Tensor) -> Tensor:
        """Return logits_BKZYX of the image's size. Raises SpecError for a size that cannot be."""
        logits_BKZYX, _ = self.predict(image_BCZYX)
        return logits_BKZYX

    def predict(self, image_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits_BKZYX and the features_BCZYX that they were made from."""
        _check_size(image_BCZYX, self.divisor_zyx)
        if not self.is_planar:
            features = self.body(image_BCZYX)
            return self.predictor(features), features
        depth = image_BCZYX.shape[2]
        features = self.body(_folded(image_BCZYX))
        return _unfolded(self.predictor(features), depth), _unfolded(features, depth)


def _check_size(image_BCZYX: Tensor, divisor_zyx: tuple[int, int, int]) -> None:
    size_zyx = tuple(image_BCZYX.shape[2:])
    if any(size % step for size, step in zip(size_zyx, divisor_zyx, strict=True)):
        raise SpecError(f"a size of {size_zyx} is no multiple of {divisor_zyx}; pad or crop it")


def _folded(image_BCZYX: Tensor) -> Tensor:
    return image_BCZYX.transpose(1, 2).flatten(0, 1)  # (B Z) C Y X


def _unfolded(image_NCYX: Tensor, depth: int) -> Tensor:
    return torch.unflatten(image_NCYX, 0, (-1, depth)).transpose(1, 2)  # B C Z Y X


def network(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return a whole network."""
    inside = Shop(dimensions=plan.get("dimensions"), classes=shop.classes, make=shop.make)
    body, width = shop.make(plan.children[0], channels, inside)
    predictor, classes = shop.make(plan.children[1], width, inside)
    return Network(body, predictor, plan), classes
