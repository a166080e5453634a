"""Parts of a network that wait until what is before them has trained."""

from torch import nn

from emsearch.networks.crf import CrfRnn
from emsearch.networks.hybrid import Hybrid, Turn

__all__ = ["join_late"]


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
