"""Axes: B batch, C channel, Z Y X voxels in array order."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emsearch.networks.build import build
from emsearch.networks.fold import folded
from tests.networks.test_build import TARGET, VARIANTS, network_of

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def _image(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, *TARGET.patch_zyx, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_a_folded_network_gives_the_same_logits(values: dict[str, Any]) -> None:
    network = build(network_of(**values), 1, 3, seed=1).double()  # what is left is no rounding
    with torch.no_grad():
        for seed in range(3):  # so that each norm has statistics, weights and shifts of its own
            network(_image(seed))
        for module in network.modules():
            if isinstance(module, _NORMS):
                module.weight.mul_(1.5)
                module.bias.add_(0.3)
        kept = deepcopy(network).eval()
        cheaper = folded(network)
        torch.testing.assert_close(cheaper(_image(9)), kept(_image(9)))
    assert not any(isinstance(module, _NORMS) for module in cheaper.modules())
