"""What takes the steps of a training."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from emsearch.records.candidate import Optimizer, Recipe

__all__ = ["make_optimizer"]


def make_optimizer(modules: Iterable[nn.Module], recipe: Recipe) -> torch.optim.Optimizer:
    """Return a recipe's optimizer of the modules' weights, in one kernel.

    Biases and scales of normalisations do not decay.
    """
    weights = [
        weight for module in modules for weight in module.parameters() if weight.requires_grad
    ]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1]},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    decaying = [group for group in groups if group["params"]]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == Optimizer.SGD:
        return torch.optim.SGD(
            decaying,
            lr=rate,
            weight_decay=decay,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            fused=True,
        )
    return torch.optim.AdamW(decaying, lr=rate, weight_decay=decay, fused=True)
