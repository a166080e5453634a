"""Parts of a network that wait until what is before them has trained."""

from copy import deepcopy

from torch import nn

from emsearch.networks.crf import CrfRnn
from emsearch.networks.hybrid import Hybrid, Turn

__all__ = ["join_late", "settled"]


def join_late(network: nn.Module, *, joined: bool) -> bool:
    """Let the parts that wait take part, or not yet; return whether the network has any.

    A CRF-RNN passes logits on until then. A cascade trains its 2-D stage alone until then, which
    also predicts alone; after that its 3-D stage trains on what the finished 2-D stage predicts.
    State dictionaries hold the choice.
    """
    layers = [module for module in network.modules() if isinstance(module, CrfRnn)]
    for layer in layers:
        layer.joined.fill_(joined)
    cascades = [part for part in network.modules() if isinstance(part, Hybrid) and part.is_cascade]
    for cascade in cascades:
        cascade.turn.fill_(Turn.SECOND if joined else Turn.FIRST)
    return bool(layers or cascades)


def settled(network: nn.Module) -> nn.Module:
    """Return a copy in which what takes part is fixed: an exported graph cannot ask a buffer."""
    copy = deepcopy(network)
    for module in list(copy.modules()):
        if isinstance(module, CrfRnn):
            is_joined = bool(module.joined)
            del module.joined
            module.joined = is_joined  # type: ignore[assignment]
        elif isinstance(module, Hybrid):
            turn = int(module.turn)
            del module.turn
            module.turn = turn  # type: ignore[assignment]
    return copy
