"""Networks on a GPU: they give what they give on a CPU, also with channels last and compiled."""

import pytest
import torch
from torch import Tensor, nn

from emsearch.networks.build import build
from emsearch.networks.compiled import compiled
from emsearch.networks.hybrid import StagedLogits
from emsearch.networks.layout import channels_last
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.families import FAMILIES
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

TARGET = Target(classes=3, patch_zyx=(4, 64, 64), voxel_nm=(40, 10, 10))


def tree_of(family: str) -> Tree:
    return draw(make_space([family], {"width": [8, 16]}), 1, 0, TARGET, Limits()).tree


def image() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, *TARGET.patch_zyx, generator=generator)


def network(family: str) -> nn.Module:
    return build(tree_of(family), 1, 3, seed=0)


@pytest.fixture(autouse=True)
def _in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_predicts_what_a_cpu_does(family: str) -> None:
    with torch.no_grad():
        wanted = network(family).eval()(image())
        found = network(family).eval().cuda()(image().cuda()).cpu()
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_gets_a_finite_gradient_in_mixed_precision(family: str) -> None:
    made = channels_last(network(family).cuda())
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = made(image().cuda())
    stages = found[:2] if isinstance(found, StagedLogits) else (found,)
    torch.stack([logits.float().square().mean() for logits in stages]).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("family", ["encoder_decoder_2d", "hybrid_2d3d_crf"])
def test_a_compiled_network_predicts_the_same(family: str) -> None:
    made = network(family).eval().cuda()
    with torch.no_grad():
        wanted = made(image().cuda())
        found = compiled(made)(image().cuda())
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
