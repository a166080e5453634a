import os
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from emsearch.errors import SpecError
from emsearch.inference.device import pick_device, place, reproducible

CPU = torch.device("cpu")
SETTINGS: Any = torch.utils.deterministic


def test_reproducible_puts_back_what_it_found() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with reproducible(CPU):
        assert torch.are_deterministic_algorithms_enabled()
        assert not SETTINGS.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert SETTINGS.fill_uninitialized_memory


def test_threads_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "2")
    with reproducible(CPU):
        assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert pick_device("auto") == CPU
    assert pick_device("cpu") == CPU
    with pytest.raises(SpecError, match="say auto or cpu"):
        pick_device("cuda")


@pytest.mark.parametrize("convolution", [nn.Conv2d, nn.Conv3d])
def test_placing_a_network_changes_no_weight(convolution: Any) -> None:
    network = nn.Sequential(convolution(2, 3, 3), nn.ReLU())
    before = [weight.clone() for weight in network.parameters()]
    placed = place(network, CPU)
    for weight, old in zip(placed.parameters(), before, strict=True):
        assert torch.equal(weight, old)


def test_two_dimensional_convolutions_have_their_channels_last() -> None:
    placed = place(nn.Conv2d(2, 3, 3), CPU)
    weight = next(placed.parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last)


_FAULTS = """
import resource, torch
from emsearch.inference.device import keep_memory

def fault(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(1 << 22)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_memory()
fault(20)
print(fault(10))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept() -> None:
    command = [sys.executable, "-c", _FAULTS]
    faults = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(faults) < 100  # else ten times 4,096 pages of 4 KB are mapped anew
