"""Averaged weights: what a network is scored with, and what it leaves."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """The exponential moving average of a network's weights and statistics.

    The decay warms up, as min(decay, (1 + n) / (10 + n)) at the n-th update, so that a short
    training is not dragged down by its initial weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        """Holds the averaged weights; in evaluation mode."""
        self.decay = decay
        self.updates = 0
        self._mine = _floats_and_rest(self.network)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the weights that `network` has now into the average."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged, current = self._mine, _floats_and_rest(network)
        torch._foreach_lerp_(averaged[0], current[0], 1 - kept)
        for mine, theirs in zip(averaged[1], current[1], strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` goes on from."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]


def _floats_and_rest(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    tensors = [*network.parameters(), *network.buffers()]
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    return floats, [tensor for tensor in tensors if not tensor.is_floating_point()]
