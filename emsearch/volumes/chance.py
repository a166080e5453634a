"""The chance of one augmentation call: few numbers on the host, many on the device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Chance"]


class Chance:
    """Random numbers of a seed; those drawn on the device also depend on its kind."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.host = np.random.default_rng(seed)
        """Parameters are drawn here, so that no device has to be waited for."""
        self.device = torch.Generator(device=device).manual_seed(seed % (1 << 63))

    def events(self, probability: float, count: int) -> list[bool]:
        """Return for each of `count` patches whether something happens to it."""
        return [bool(happens) for happens in self.host.random(count) < probability]

    def uniform(self, low: float, high: float, *shape: int) -> NDArray[np.float64]:
        """Return evenly drawn numbers of a shape."""
        return self.host.uniform(low, high, shape)

    def gauss(self, spread: float, *shape: int, like: Tensor) -> Tensor:
        """Return normal numbers of a shape, drawn on the host, with type and place of `like`."""
        drawn = torch.from_numpy(self.host.normal(0.0, spread, shape))
        return drawn.to(device=like.device, dtype=like.dtype)

    def normal_like(self, image: Tensor) -> Tensor:
        """Return normal numbers of the image's shape, drawn where it lies."""
        return torch.empty_like(image).normal_(generator=self.device)
