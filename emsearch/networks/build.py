"""From a module tree to a torch module: kind -> builder, a plain table."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from emsearch.errors import SpecError
from emsearch.networks.block import atrous_pyramid, block, chain
from emsearch.networks.convolution import convolution, predictor
from emsearch.networks.crf import crf
from emsearch.networks.edges import down, forward, up
from emsearch.networks.hybrid import hybrid
from emsearch.networks.multiscale import encoder_decoder, pyramid
from emsearch.networks.network import network
from emsearch.networks.parts import Builder, Made, Shop
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan

__all__ = ["BUILDERS", "build", "rebuild"]

BUILDERS: dict[str, Builder] = {
    "hybrid": hybrid,
    "network": network,
    "encoder_decoder": encoder_decoder,
    "pyramid": pyramid,
    "atrous_pyramid": atrous_pyramid,
    "dilated_block": chain,
    "mixed_block": block,
    "block": block,
    "convolution": convolution,
    "predictor": predictor,
    "crf": crf,
    "forward": forward,
    "down": down,
    "up": up,
}
"""Encoders, decoders and the edges that join two modules are built by what holds them."""


def build(tree: Tree, channels: int, classes: int, seed: int) -> nn.Module:
    """Return the network that `tree` describes, from image_BCZYX to logits_BKZYX.

    Its initial weights depend on `seed` alone. Raises SpecError for a tree that cannot be built.
    """
    shop = Shop(dimensions=3, classes=classes, make=_make)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, _ = _make(tree.plan(), channels, shop)
        _initialise(module)
    return module


def rebuild(values: dict[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """Return the trained network of a tree's dictionary and a state dictionary, for inference.

    How many channels and classes there are is read from the weights. Raises SpecError where the
    weights are not the tree's.
    """
    weights = [value for value in state.values() if value.ndim > 3]
    predictors = [name for name in state if name.endswith("predictor.weight")]
    if not weights or not predictors:
        raise SpecError(f"no weights of a network among {list(state)[:5]}")
    tree = Tree.from_dict(values)
    network = build(tree, weights[0].shape[1], state[predictors[-1]].shape[0], seed=0)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise SpecError(f"the weights are not those of tree {tree.digest()}: {error}") from error
    return network.eval()


def _make(plan: Plan, channels: int, shop: Shop) -> Made:
    if plan.kind not in BUILDERS:
        raise SpecError(f"no builder for kind {plan.kind!r}; known kinds: {sorted(BUILDERS)}")
    return BUILDERS[plan.kind](plan, channels, shop)


def _initialise(network: nn.Module) -> None:
    """Draw weights so that the variance of activations lasts through the layers (He 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
