"""Deep supervision: heads at the lower resolutions of decoders, for the loss alone.

Axes: B batch, K class, Z Y X voxels in array order; N is B Z where sections are taken one by one.
"""

from typing import Any

import torch
from torch import Tensor, nn

from emsearch.networks.multiscale import EncoderDecoder

__all__ = ["DeepHeads"]


class DeepHeads(nn.Module):
    """A 1x1x1 predictor on each decoder block below full resolution; the network stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._features: list[tuple[int, Tensor]] = []
        self.heads = nn.ModuleList()

    @classmethod
    def of(cls, network: nn.Module, classes: int, patch_zyx: tuple[int, int, int]) -> "DeepHeads":
        """Return the heads of a network, none where it has no decoder."""
        made = cls()
        decoders = [part for part in network.modules() if isinstance(part, EncoderDecoder)]
        blocks = [rise for decoder in decoders for rise in list(decoder.rises)[:-1]]
        for number, block in enumerate(blocks):
            block.register_forward_hook(made._note(number))
        for width, is_flat in made._widths(network, patch_zyx):
            made.heads.append((nn.Conv2d if is_flat else nn.Conv3d)(width, classes, 1))
        return made

    def __len__(self) -> int:
        return len(self.heads)

    def take(self, depth: int) -> list[Tensor]:
        """Return the logits_BKZYX of the heads, for what the network saw last, and forget that.

        `depth` is the number of sections of a patch.
        """
        found = [self.heads[number](features) for number, features in self._features]
        self._features.clear()
        return [_unfolded(logits, depth) for logits in found]

    def _note(self, number: int) -> Any:
        def hook(_block: nn.Module, _given: Any, features: Tensor) -> None:
            self._features.append((number, features))

        return hook

    @torch.no_grad()
    def _widths(
        self, network: nn.Module, patch_zyx: tuple[int, int, int]
    ) -> list[tuple[int, bool]]:
        """Return for each block the channels that it gives, and whether it is over sections."""
        weight = next(network.parameters())
        was_training = network.training
        network.eval()  # batch statistics are not to see this
        network(torch.zeros((1, 1, *patch_zyx), device=weight.device))
        network.train(was_training)
        seen = [(features.shape[1], features.ndim == 4) for _, features in self._features]
        self._features.clear()
        return seen


def _unfolded(logits: Tensor, depth: int) -> Tensor:
    if logits.ndim == 5:
        return logits
    return torch.unflatten(logits, 0, (-1, depth)).transpose(1, 2)  # B K Z Y X
