"""The order in which a network's numbers lie in memory."""

import torch
from torch import nn

__all__ = ["channels_last"]


def channels_last(network: nn.Module) -> nn.Module:
    """Return the network itself with its convolutions' weights laid out channels last.

    Activations follow the weights. It changes speed and rounding, nothing else: it pays on CPUs
    and, in mixed precision, on GPUs; `experiments/benchmarks/networks.py` says how much.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            layout = torch.channels_last
        elif isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            layout = torch.channels_last_3d
        else:
            continue
        module.weight.data = module.weight.data.contiguous(memory_format=layout)
    return network
