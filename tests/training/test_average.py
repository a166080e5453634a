import pytest
import torch
from torch import nn

from emsearch.training.average import WeightAverage


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def test_equal_weights_stay_what_they_are() -> None:
    network = _network()
    average = WeightAverage(network, 0.9)
    average.update(network)
    for mine, theirs in zip(average.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_average_follows_its_formula() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, 0.3)
    (averaged,) = average.network.parameters()
    expected = network.weight.item()
    for update, kept in enumerate([1 / 10, 2 / 11, 3 / 12, 0.3, 0.3]):
        nn.init.constant_(network.weight, float(update))
        average.update(network)
        expected = kept * expected + (1 - kept) * update
        assert averaged.item() == pytest.approx(expected)


def test_statistics_are_averaged_and_counters_copied() -> None:
    network = _network()
    average = WeightAverage(network, 0.9)
    network(torch.ones(4, 2))
    average.update(network)
    buffers = dict(average.network.named_buffers())
    assert buffers["1.num_batches_tracked"] == 1
    theirs = dict(network.named_buffers())["1.running_mean"]
    torch.testing.assert_close(buffers["1.running_mean"], 0.9 * theirs)


def test_the_averaged_network_needs_no_gradient_and_is_in_evaluation_mode() -> None:
    average = WeightAverage(_network(), 0.9)
    assert not average.network.training
    assert not any(weight.requires_grad for weight in average.network.parameters())


def test_an_average_goes_on_from_its_state() -> None:
    network = _network()
    first, second = WeightAverage(network, 0.9), WeightAverage(_network(), 0.9)
    first.update(network)
    second.load_state_dict(first.state_dict())
    for weight in network.parameters():
        nn.init.ones_(weight)
    for average in (first, second):
        average.update(network)
    assert first.state_dict()["updates"] == second.state_dict()["updates"] == 2
    for mine, theirs in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
