import os
from typing import Any

import pytest
import torch

from emsearch.errors import SpecError
from emsearch.inference.device import pick_device, reproducible

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
    with pytest.raises(SpecError, match='say "auto" or "cpu"'):
        pick_device("cuda")
