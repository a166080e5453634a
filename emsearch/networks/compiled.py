"""Compiling a network, but for its parts that would take minutes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emsearch.networks.crf import CrfRnn

__all__ = ["compiled"]


def compiled(network: nn.Module, **options: Any) -> Callable[[Tensor], Any]:
    """Return what runs the network compiled; `options` are those of `torch.compile`.

    A CRF-RNN stays as it is, also in the network itself: its loops over the window unroll to
    thousands of operations.
    """
    for part in network.modules():
        if isinstance(part, CrfRnn):
            # Not by a decorator: to be there it would have torch load its compiler in every worker.
            part.refined = torch.compiler.disable(part.refined)  # type: ignore[method-assign, no-untyped-call]
    run: Callable[[Tensor], Any] = torch.compile(network, **options)
    return run
