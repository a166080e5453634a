"""Hybrid networks: two stages, joined end to end or as a cascade."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import Tensor, nn

from emsearch.networks.build import build
from emsearch.networks.hybrid import Hybrid, StagedLogits, Turn
from emsearch.networks.late import join_late
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
        assert join_late(network, joined=False)
        plain = network(image())
        assert not torch.equal(plain, refined)
        assert join_late(network, joined=True)
        assert torch.equal(network(image()), refined)
    assert not join_late(hybrid(), joined=True)


def moved(before: list[Tensor], stage: nn.Module) -> bool:
    return any(
        not torch.equal(a, b) for a, b in zip(before, stage.state_dict().values(), strict=True)
    )


def kept(stage: nn.Module) -> list[Tensor]:
    return [value.clone() for value in stage.state_dict().values()]


def task() -> tuple[Tensor, Tensor]:
    """Return an image of few regions with noise, and which region each voxel is of."""
    coarse = torch.randint(0, 3, (2, 2, 2, 2), generator=torch.Generator().manual_seed(1))
    truth = coarse.repeat_interleave(2, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
    noise = torch.randn(2, 1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    return truth[:, None].float() - 1 + 0.5 * noise, truth


def learn(network: Hybrid, steps: int = 40) -> list[tuple[float, ...]]:
    """Train with the losses that the network asks for; return those of each step."""
    given, truth = task()
    optimiser = torch.optim.Adam(network.train().parameters(), lr=0.02)
    told = []
    for _ in range(steps):
        optimiser.zero_grad()
        found = network(given)
        stages = found[:2] if isinstance(found, StagedLogits) else (found,)
        losses = [F.cross_entropy(logits, truth) for logits in stages]
        torch.autograd.backward(losses)
        optimiser.step()
        told.append(tuple(float(loss.detach()) for loss in losses))
    return told


def test_end_to_end_both_losses_fall() -> None:
    losses = learn(hybrid(coupling="joint"))
    assert losses[-1][0] < 0.6 * losses[0][0]
    assert losses[-1][1] < 0.6 * losses[0][1]


def test_a_cascade_learns_in_turns() -> None:
    network = hybrid(coupling="cascade")
    assert join_late(network, joined=False)
    first, second = kept(network.planar), kept(network.volumetric)
    losses = learn(network)
    assert losses[-1][0] < 0.6 * losses[0][0]
    assert moved(first, network.planar)
    assert not moved(second, network.volumetric)
    finished = kept(network.planar)
    assert join_late(network, joined=True)
    losses = learn(network)
    assert losses[-1][0] < 0.6 * losses[0][0]
    assert moved(second, network.volumetric)
    assert not moved(finished, network.planar)


def test_a_cascade_predicts_with_what_has_learned() -> None:
    network = hybrid(coupling="cascade").eval()
    with torch.no_grad():
        whole = network(image())
        join_late(network, joined=False)
        assert torch.equal(network(image()), network.planar(image()))
        join_late(network, joined=True)
        assert torch.equal(network(image()), whole)


def test_a_cascade_learns_from_stored_predictions() -> None:
    network = hybrid(coupling="cascade")
    given, truth = task()
    with torch.no_grad():
        stored, _ = network.eval().carry(given)
    optimiser = torch.optim.Adam(network.volumetric.train().parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = F.cross_entropy(network.refine(stored, given), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_a_cascade_remembers_its_turn_and_reads_states_without_one() -> None:
    network, other = hybrid(coupling="cascade"), hybrid(coupling="cascade")
    join_late(network, joined=True)
    state = network.state_dict()
    other.load_state_dict(state)
    assert int(other.turn) == Turn.SECOND
    del state["turn"]
    other.load_state_dict(state)
    assert int(other.turn) == Turn.BOTH
    assert "turn" not in hybrid(coupling="joint").state_dict()
