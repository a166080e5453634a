"""A trained network made cheaper without being changed: fixed normalisation becomes convolution."""

from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["folded"]

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def folded(network: nn.Module) -> nn.Module:
    """Return the network itself, in evaluation mode, its batch norms folded into convolutions.

    At inference a batch norm scales and shifts each channel by numbers that are known, which the
    convolution before it can do as well. Outputs are equal but for rounding.
    """
    for module in list(network.eval().modules()):
        if isinstance(module, nn.Sequential):
            for place, (convolution, norm) in enumerate(pairwise(list(module))):
                if isinstance(convolution, _CONVOLUTIONS) and isinstance(norm, _BATCH_NORMS):
                    _fold(convolution, norm)
                    module[place + 1] = nn.Identity()
    return network


def _fold(convolution: Any, norm: Any) -> None:
    # New parameters, not the old ones changed: parallel paths may share theirs.
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(convolution, _TRANSPOSED),
    )
