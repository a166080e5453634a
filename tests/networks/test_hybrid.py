"""Hybrid networks: two stages, joined end to end or as a cascade."""

from typing import Any

import torch
from torch import Tensor, nn

from emsearch.networks.build import build
from emsearch.networks.hybrid import Hybrid, StagedLogits
from emsearch.networks.network import join_crf
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.node import Tree


def image() -> Tensor:
    return torch.rand(1, 1, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def hybrid(**values: Any) -> Hybrid:
    volumetric: dict[str, Any] = {"dimensions": 3, "body": "pyramid", "paths": 2, "kernel_z": 3}
    crf = values.pop("crf", "no")
    sketch = Sketch(
        kind="hybrid",
        values={"width": 3, "levels": 1, "convolutions": 1, "pool_z": "never", **values},
        inside={2: Sketch(kind="network", values={**volumetric, "crf": crf})},
    )
    made = build(Tree("test", grown(sketch)), 1, 3, seed=0)
    assert isinstance(made, Hybrid)
    return made


def gradients(stage: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in stage.parameters() if p.grad is not None)


def test_it_gives_both_logits_in_training_and_its_own_at_inference() -> None:
    network = hybrid(auxiliary=0.25)
    found = network(image())
    assert isinstance(found, StagedLogits)
    assert found.auxiliary_weight == 0.25
    assert found.auxiliary_BKZYX.shape == found.logits_BKZYX.shape == (1, 3, 4, 16, 16)
    assert isinstance(network.eval()(image()), Tensor)


def test_end_to_end_the_second_stage_teaches_the_first() -> None:
    network = hybrid(coupling="joint")
    network(image()).logits_BKZYX.square().sum().backward()
    assert gradients(network.planar) > 0
    assert gradients(network.volumetric) > 0


def test_in_a_cascade_it_does_not() -> None:
    network = hybrid(coupling="cascade")
    found = network(image())
    found.logits_BKZYX.square().sum().backward()
    assert gradients(network.planar) == 0
    assert gradients(network.volumetric) > 0
    found.auxiliary_BKZYX.square().sum().backward()
    assert gradients(network.planar) > 0


def test_a_cascade_can_work_on_stored_predictions() -> None:
    network = hybrid(coupling="cascade").eval()
    with torch.no_grad():
        stored, _ = network.carry(image())
        assert torch.equal(network.refine(stored, image()), network(image()))


def test_what_is_carried_has_its_channels() -> None:
    channels = {
        carries: hybrid(carries=carries).carry(image())[0].shape[1]
        for carries in ("maps", "maps+image", "maps+features", "maps+features+image")
    }
    assert channels == {"maps": 3, "maps+image": 4, "maps+features": 6, "maps+features+image": 7}


def test_carried_maps_are_probabilities() -> None:
    maps = hybrid(carries="maps").carry(image())[0]
    assert torch.allclose(maps.sum(1), torch.ones(1, 4, 16, 16))


def test_a_crf_joins_when_it_is_told() -> None:
    network = hybrid(crf="yes").eval()
    with torch.no_grad():
        refined = network(image())
        assert join_crf(network, joined=False)
        plain = network(image())
        assert not torch.equal(plain, refined)
        assert join_crf(network, joined=True)
        assert torch.equal(network(image()), refined)
    assert not join_crf(hybrid(), joined=True)
