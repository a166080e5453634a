import pytest
import torch

from emsearch.training.memory import telling_memory


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", torch.OutOfMemoryError),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED in cublasCreate", torch.OutOfMemoryError),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", MemoryError),
    ],
)
def test_memory_that_runs_out_is_told_as_such(text: str, told: type[Exception]) -> None:
    with pytest.raises(told, match=text[:20]), telling_memory():
        raise RuntimeError(text)


def test_a_real_allocation_that_is_too_large_is_one() -> None:
    with pytest.raises(MemoryError), telling_memory():
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), telling_memory():
        raise RuntimeError("shapes differ")
