"""What waits to take part can be fixed, as graphs for other runtimes need it."""

import pytest
import torch

from emsearch.networks.build import build
from emsearch.networks.late import join_late, settled
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

TARGET = Target(classes=3, patch_zyx=(2, 16, 16), voxel_nm=(40, 10, 10))
SPACES = {"hybrid_2d3d_crf": {"crf_radius": 1, "crf_iterations": 1}, "hybrid_2d3d_cascade": {}}


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("family", SPACES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's exporter, by itself
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_settled_network_is_exported_as_it_predicts(family: str, joined: bool) -> None:
    space = make_space([family], {"width": [2, 4], **SPACES[family]})
    network = build(draw(space, 1, 0, TARGET, Limits()).tree, 1, 3, seed=0).eval()
    join_late(network, joined=joined)
    image = torch.rand(1, 1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(settled(network), (image,)).module()
    assert torch.allclose(program(image), network(image), atol=1e-5)
    join_late(network, joined=not joined)  # the network itself is not fixed
    assert not torch.allclose(program(image), network(image), atol=1e-5)
