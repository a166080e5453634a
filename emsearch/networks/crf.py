"""A conditional random field as a recurrent network, over local windows, in 2-D or 3-D.

Each iteration of mean field gathers messages from a window around every voxel with two kernels: a
spatial one, which falls with distance, and a bilateral one, which also falls with the difference
in the image (Kraehenbuehl & Koltun 2011; Zheng 2015; local windows as in Teichmann & Cipolla 2018).
Distances are in units of the voxel's size in y and x.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

from collections.abc import Iterator
from itertools import product
from math import exp
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import Tensor, nn

from emsearch.networks.parts import Made, Shop
from emsearch.trees.plan import Plan

__all__ = ["CrfRnn", "Window", "bilateral_sum", "crf", "spatial_sum"]

Zyx = tuple[int, int, int]
COLOUR_SIGMA = 0.5
"""Bandwidth of the bilateral kernel in units of the image's standard deviation."""
FIRST_WEIGHT = 0.1
"""Weight of the messages at first: small, so that the layer begins near the identity."""
CHUNK_VOXELS = 2**20
"""Voxels times classes that are worked on at once: bounds the memory beside in- and output."""


class Window:
    """The window that messages come from, and the widths of its kernels."""

    def __init__(self, radius_zyx: Zyx, aspect: float) -> None:
        self.radius_zyx = radius_zyx
        self.steps_zyx = (aspect, 1.0, 1.0)
        self.spatial_sigma = max(radius_zyx[1] / 2, 0.5)
        self.bilateral_sigma = float(max(radius_zyx[1], 1))

    def falloff(self, offset_zyx: Zyx, sigma: float) -> float:
        """Return the Gaussian of the distance that an offset spans."""
        parts = zip(offset_zyx, self.steps_zyx, strict=True)
        return exp(-sum((count * step) ** 2 for count, step in parts) / (2 * sigma**2))

    def half(self) -> Iterator[Zyx]:
        """Yield one of each pair of opposite offsets; the voxel itself sends no message."""
        for offset in product(*(range(-radius, radius + 1) for radius in self.radius_zyx)):
            if offset > (0, 0, 0):
                yield offset[0], offset[1], offset[2]


def spatial_sum(values_BKZYX: Tensor, window: Window) -> Tensor:
    """Return the sum over each voxel's window, weighted by the spatial kernel, of its own shape."""
    total = values_BKZYX
    channels = values_BKZYX.shape[1]
    for axis, radius in enumerate(window.radius_zyx):
        taps = [_tap(window, axis, step) for step in range(-radius, radius + 1)]
        shape, padding = [1, 1, 1], [0, 0, 0]
        shape[axis], padding[axis] = len(taps), radius
        kernel = total.new_tensor(taps).view(1, 1, *shape).expand(channels, 1, *shape)
        total = F.conv3d(total, kernel, padding=padding, groups=channels)
    return total - values_BKZYX


def _tap(window: Window, axis: int, step: int) -> float:
    offset = [0, 0, 0]
    offset[axis] = step
    return window.falloff((offset[0], offset[1], offset[2]), window.spatial_sigma)


def bilateral_sum(values_BKZYX: Tensor, image_BCZYX: Tensor, window: Window) -> Tensor:
    """Return the sum over each voxel's window, weighted by the bilateral kernel, of its own shape.

    It works slab by slab along y, so that what it holds besides in- and output is bounded.
    """
    total = torch.zeros_like(values_BKZYX)
    rows = values_BKZYX.shape[3]
    chunk = max(1, CHUNK_VOXELS * rows // max(values_BKZYX.numel(), 1))
    for first in range(0, rows, chunk):
        for offset in window.half():
            here, there = _overlap(offset, values_BKZYX.shape[2:], (first, first + chunk))
            if min(values_BKZYX[here].shape) == 0:
                continue
            near = (image_BCZYX[here] - image_BCZYX[there]).square_().sum(1, keepdim=True)
            near.mul_(-0.5 / COLOUR_SIGMA**2).exp_()
            near.mul_(window.falloff(offset, window.bilateral_sigma))
            total[here].addcmul_(near, values_BKZYX[there])
            total[there].addcmul_(near, values_BKZYX[here])
    return total


def _overlap(offset: Zyx, size: torch.Size, rows: tuple[int, int]) -> tuple[Any, Any]:
    """Return where both ends of an offset lie inside; its start lies within `rows` along y."""
    here, there = [slice(None), slice(None)], [slice(None), slice(None)]
    for axis, (step, length) in enumerate(zip(offset, size, strict=True)):
        first, end = max(0, -step), min(length, length - step)
        if axis == 1:
            first, end = max(first, rows[0]), min(end, rows[1])
        end = max(first, end)
        here.append(slice(first, end))
        there.append(slice(first + step, end + step))
    return tuple(here), tuple(there)


class _Spatial(torch.autograd.Function):
    """The spatial sum. The kernel is symmetric, so that the gradient is the same sum again."""

    @staticmethod
    def forward(ctx: Any, values_BKZYX: Tensor, window: Window) -> Tensor:
        ctx.window = window
        return spatial_sum(values_BKZYX, window)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        with torch.autocast(gradient.device.type, enabled=False):
            return _Spatial.apply(gradient, ctx.window), None  # type: ignore[no-untyped-call]


class _Bilateral(torch.autograd.Function):
    """The bilateral sum, likewise; the image has no gradient."""

    @staticmethod
    def forward(ctx: Any, values_BKZYX: Tensor, image_BCZYX: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(image_BCZYX)
        ctx.window = window
        return bilateral_sum(values_BKZYX, image_BCZYX, window)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        (image_BCZYX,) = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            summed = _Bilateral.apply(gradient, image_BCZYX, ctx.window)  # type: ignore[no-untyped-call]
        return summed, None, None


class CrfRnn(nn.Module):
    """Refines logits by some iterations of mean field with learned weights and compatibility.

    It passes logits on as they are until `joined` is set, which a training does when the network
    before it has trained.
    """

    joined: Tensor

    def __init__(self, classes: int, window: Window, iterations: int) -> None:
        super().__init__()
        self.window = window
        self.iterations = iterations
        self.spatial_K = nn.Parameter(torch.full((classes,), FIRST_WEIGHT))
        self.bilateral_K = nn.Parameter(torch.full((classes,), FIRST_WEIGHT))
        self.compatibility_KK = nn.Parameter(-torch.eye(classes))
        self.register_buffer("joined", torch.tensor(True))

    def forward(self, logits_BKZYX: Tensor, image_BCZYX: Tensor) -> Tensor:
        """Return refined logits; the image is one of mean 0 and standard deviation 1."""
        if not self.joined:
            return logits_BKZYX
        with torch.autocast(logits_BKZYX.device.type, enabled=False):
            precision = torch.promote_types(logits_BKZYX.dtype, torch.float32)
            image = image_BCZYX.detach().to(precision)
            return self.refined(logits_BKZYX.to(precision), image)

    def refined(self, unary_BKZYX: Tensor, image_BCZYX: Tensor) -> Tensor:
        """Return what the iterations make of logits, in the precision that they come in."""
        ones_B1ZYX = torch.ones_like(unary_BKZYX[:, :1])
        with torch.no_grad():
            norms = [n.clamp_min(1e-6) for n in self._messages(ones_B1ZYX, image_BCZYX)]
        compatibility = self.compatibility_KK.to(unary_BKZYX.dtype)[..., None, None, None]
        weights = [w.view(1, -1, 1, 1, 1) for w in (self.spatial_K, self.bilateral_K)]
        logits_BKZYX = unary_BKZYX
        for _ in range(self.iterations):
            beliefs = logits_BKZYX.softmax(1)
            near, alike = self._messages(beliefs, image_BCZYX)
            message = near / norms[0] * weights[0] + alike / norms[1] * weights[1]
            logits_BKZYX = unary_BKZYX - F.conv3d(message, compatibility)
        return logits_BKZYX

    def _messages(self, values_BKZYX: Tensor, image_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        near = _Spatial.apply(values_BKZYX, self.window)  # type: ignore[no-untyped-call]
        alike = _Bilateral.apply(values_BKZYX, image_BCZYX, self.window)  # type: ignore[no-untyped-call]
        return near, alike


def crf(plan: Plan, _channels: int, shop: Shop) -> Made:
    """Return a CRF-RNN over the classes."""
    window = Window(plan.get("radius_zyx"), plan.get("aspect"))
    return CrfRnn(shop.classes, window, plan.get("iterations")), shop.classes
