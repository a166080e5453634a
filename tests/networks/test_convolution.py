"""Convolutions of lone images: as torch's own, without unrolling their input."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from emsearch.networks.convolution import UNROLLED, Conv3d

FLAT, LOW, NARROW = (4, 48, 48), (48, 4, 48), (48, 48, 4)
"""Sizes with their shortest axis first, second and last: each is unrolled in some order."""
CHANNELS = 10
HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def gradients(convolution: nn.Module, image: Tensor) -> list[Tensor]:
    """Return what comes out, and the gradients of all that goes in."""
    image = image.clone().requires_grad_()
    found = convolution(image)
    found.backward(noise(*found.shape))
    grads = [image.grad, *(weight.grad for weight in convolution.parameters())]
    return [found.detach(), *(grad for grad in grads if grad is not None)]


@pytest.mark.parametrize("size", [FLAT, LOW, NARROW])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (1, 3, 5), "padding": (0, 2, 4), "dilation": (1, 2, 2)},
        {"kernel_size": (2, 2, 2), "stride": (2, 2, 2), "bias": False},
        {"kernel_size": 1},
    ],
    ids=str,
)
def test_it_is_torch_s_own(size: tuple[int, int, int], settings: dict[str, Any]) -> None:
    ours, torchs = Conv3d(CHANNELS, 6, **settings), nn.Conv3d(CHANNELS, 6, **settings)
    torchs.load_state_dict(ours.state_dict())
    for batch in (1, 2):
        image = noise(batch, CHANNELS, *size)
        for found, wanted in zip(gradients(ours, image), gradients(torchs, image), strict=True):
            assert found.shape == wanted.shape
            assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def unrolled(convolution: nn.Module, image: Tensor) -> bool:
    """Return whether a convolution unrolls its input, by the operations that torch ran."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        gradients(convolution, image)
    return any("slow_conv3d" in event.key for event in recorded.key_averages())


@pytest.mark.skipif(not HAS_ONEDNN, reason="torch without oneDNN")
@pytest.mark.parametrize("size", [FLAT, LOW, NARROW])
def test_a_lone_image_is_not_unrolled(size: tuple[int, int, int]) -> None:
    image = noise(1, CHANNELS, *size)
    assert not unrolled(Conv3d(CHANNELS, 6, 3, padding=1), image)


@pytest.mark.skipif(not HAS_ONEDNN, reason="torch without oneDNN")
def test_torch_s_own_would_unroll_it() -> None:
    image = noise(1, CHANNELS, *FLAT)
    assert CHANNELS * FLAT[0] * FLAT[1] <= UNROLLED < CHANNELS * FLAT[1] * FLAT[2]
    assert unrolled(nn.Conv3d(CHANNELS, 6, 3, padding=1), image)


def test_a_compiler_is_shown_torch_s_own() -> None:
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch.compile(Conv3d(CHANNELS, 6, 3, padding=1), backend=backend)(noise(1, CHANNELS, *FLAT))
    assert any("conv3d" in target for target in seen)
    assert not any("permute" in target for target in seen)
