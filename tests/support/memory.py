"""A training step whose memory is measured, and what arithmetic predicts for it."""

from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from emsearch.networks.build import build
from emsearch.networks.hybrid import StagedLogits
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import Space

__all__ = ["Measure", "Step", "median_error", "recorded_peak"]

Measure = Callable[["Step"], int]
"""From a step that has run once to the bytes that it takes at most, weights among them."""


class Step:
    """A training step of a tree's network on one batch."""

    def __init__(self, tree: Tree, target: Target, device: str) -> None:
        self.network: nn.Module = build(tree, target.channels, target.classes, seed=0).to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters())
        shape = (target.batch_size, *target.patch_zyx)
        self.image: Tensor = torch.rand(shape[0], target.channels, *shape[1:], device=device)
        self.truth: Tensor = torch.zeros(shape, dtype=torch.int64, device=device)

    def run(self) -> None:
        """Go forward and backward and let the optimiser step."""
        self.optimiser.zero_grad(set_to_none=True)
        found = self.network(self.image)
        stages = found[:2] if isinstance(found, StagedLogits) else (found,)
        losses = [F.cross_entropy(logits.float(), self.truth) for logits in stages]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    @property
    def standing_bytes(self) -> int:
        """What stands before a step: the batch, weights, their gradients and two moments."""
        weights = sum(4 * parameter.numel() for parameter in self.network.parameters())
        return 4 * weights + self.image.nbytes + self.truth.nbytes


def recorded_peak(run: Callable[[], object]) -> int:
    """Return the most bytes that `run` holds beside what there was, by the CPU allocator's record.

    What it frees of that counts against it.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        kept = run()
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    del kept
    return peak


def median_error(
    space: Space, trees: int, target: Target, limits: Limits, measure: Measure, device: str = "cpu"
) -> float:
    """Return the median over so many trees of how far the prediction is off, as a part of it."""
    errors = []
    for number in range(trees):
        tree = draw(space, 3, number, target, limits).tree
        step = Step(tree, target, device)
        step.run()  # moments and buffers come with the first
        predicted_bytes = describe(tree, target).memory_gb(target.batch_size) * 1e9
        errors.append(abs(predicted_bytes / measure(step) - 1))
    return median(errors)
