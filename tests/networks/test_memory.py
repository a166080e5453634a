"""The memory that arithmetic predicts is the memory that a training step takes."""

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
from emsearch.trees.space import make_space

BATCH = 2
TARGET = Target(classes=4, patch_zyx=(4, 64, 64), batch_size=BATCH, voxel_nm=(40, 10, 10))
LIMITS = Limits(max_parameters=600_000, max_step_s=1.5, gflops=30, gbytes_s=5)


def step(
    network: nn.Module, optimiser: torch.optim.Optimizer, image: Tensor, truth: Tensor
) -> None:
    optimiser.zero_grad(set_to_none=True)
    found = network(image)
    stages = found[:2] if isinstance(found, StagedLogits) else (found,)
    torch.stack([F.cross_entropy(logits, truth) for logits in stages]).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def measured_bytes(tree: Tree) -> int:
    """Return the peak of a training step after the first, by the allocator's own record."""
    network = build(tree, 1, 4, seed=0)
    optimiser = torch.optim.AdamW(network.parameters())
    image = torch.rand(BATCH, 1, *TARGET.patch_zyx)
    truth = torch.zeros(BATCH, *TARGET.patch_zyx, dtype=torch.int64)
    step(network, optimiser, image, truth)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step(network, optimiser, image, truth)
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    weights = sum(4 * parameter.numel() for parameter in network.parameters())
    # Weights, their gradients and two moments stood before the record began.
    return 4 * weights + image.nbytes + truth.nbytes + peak


def test_predicted_memory_is_near_what_a_step_takes() -> None:
    space = make_space(["mixed"], {"width": [4, 24]})
    errors = []
    for number in range(12):
        tree = draw(space, 3, number, TARGET, LIMITS).tree
        predicted_bytes = describe(tree, TARGET).memory_gb(BATCH) * 1e9
        errors.append(abs(predicted_bytes / measured_bytes(tree) - 1))
    # On a CPU torch also unrolls the input of very small convolutions; those stand apart.
    assert median(errors) < 0.2
