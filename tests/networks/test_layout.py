"""Memory layouts and compilation change no result."""

import pytest
import torch
from torch import Tensor, nn

from emsearch.networks.build import build
from emsearch.networks.compiled import compiled
from emsearch.networks.hybrid import StagedLogits
from emsearch.networks.layout import channels_last
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

TARGET = Target(classes=3, patch_zyx=(4, 32, 32), voxel_nm=(40, 10, 10))


@pytest.mark.parametrize("family", ["encoder_decoder_2d", "encoder_decoder_3d", "hybrid_2d3d"])
def test_channels_last_predicts_the_same(family: str) -> None:
    tree = draw(make_space([family], {"width": [4, 8]}), 1, 0, TARGET, Limits()).tree
    image = torch.rand(1, 1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = build(tree, 1, 3, seed=0).eval()
    other = channels_last(build(tree, 1, 3, seed=0).eval())
    assert torch.allclose(other(image), plain(image), atol=1e-4)
    convolutions = [m for m in other.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    assert all(m.weight.stride()[1] == 1 for m in convolutions if m.weight.shape[1] > 1)
    state = other.state_dict()
    build(tree, 1, 3, seed=1).load_state_dict(state)


# The tracer makes torch warn of what the tracer itself does.
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    "family", ["dense_2d", "encoder_decoder_3d", "hybrid_2d3d", "hybrid_2d3d_crf"]
)
def test_a_compiled_network_trains_the_same(family: str) -> None:
    tree = draw(make_space([family], {"width": [4, 8]}), 1, 0, TARGET, Limits()).tree
    image = torch.rand(2, 1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, other = build(tree, 1, 3, seed=0), build(tree, 1, 3, seed=0)
    # Traced forward and backward as for code generation, without the minutes that takes.
    losses = [_loss(run(image)) for run in (plain, compiled(other, backend="aot_eager"))]
    assert torch.allclose(losses[0], losses[1], rtol=1e-4)
    torch.autograd.backward(losses)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert torch.allclose(one.grad, two.grad, rtol=1e-2, atol=1e-5)


def _loss(found: Tensor | StagedLogits) -> Tensor:
    stages = found[:2] if isinstance(found, StagedLogits) else (found,)
    return torch.stack([logits.square().mean() for logits in stages]).sum()
