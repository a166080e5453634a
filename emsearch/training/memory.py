"""Memory that runs out, told as such: torch has several ways to say it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["telling_memory"]

_GPU = ("CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_HOST = ("can't allocate memory", "not enough memory: you tried to allocate")


@contextmanager
def telling_memory() -> Iterator[None]:
    """Within it, memory that runs out raises torch.OutOfMemoryError or MemoryError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        text = str(error)
        if any(words in text for words in _GPU):
            raise torch.OutOfMemoryError(text) from error
        if any(words in text for words in _HOST):
            raise MemoryError(text) from error
        raise
