"""The CRF-RNN, against a direct double loop, and for what it is worth."""

from itertools import product
from math import exp

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import Tensor

from emsearch.networks import crf as crf_module
from emsearch.networks.crf import COLOUR_SIGMA, CrfRnn, Window, bilateral_sum
from emsearch.volumes.phantom import phantom
from tests.support.memory import recorded_peak

Zyx = tuple[int, int, int]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(radius_zyx: Zyx, aspect: float, iterations: int = 2, classes: int = 3) -> CrfRnn:
    made = CrfRnn(classes, Window(radius_zyx, aspect), iterations).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        with torch.no_grad():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def mean_field(made: CrfRnn, unary_ZYXK: np.ndarray, image_ZYXC: np.ndarray) -> np.ndarray:
    """Return what the layer should, by a loop over all pairs of voxels."""
    spatial, bilateral, compatibility = (p.detach().numpy() for p in made.parameters())
    depth, rows, columns, _ = unary_ZYXK.shape
    voxels: list[Zyx] = list(product(range(depth), range(rows), range(columns)))
    logits = unary_ZYXK.copy()
    for _ in range(made.iterations):
        beliefs = np.exp(logits - logits.max(3, keepdims=True))
        beliefs /= beliefs.sum(3, keepdims=True)
        logits = unary_ZYXK.copy()
        for here in voxels:
            sums, norms = np.zeros((2, unary_ZYXK.shape[3])), np.zeros(2)
            for there in voxels:
                kernels = pair(made.window, here, there, image_ZYXC)
                sums += kernels[:, None] * beliefs[there]
                norms += kernels
            message = sums / np.maximum(norms, 1e-6)[:, None]
            mixed = message[0] * spatial + message[1] * bilateral
            logits[here] -= compatibility @ mixed
    return logits


def pair(window: Window, here: Zyx, there: Zyx, image_ZYXC: np.ndarray) -> np.ndarray:
    """Return the spatial and the bilateral kernel between two voxels."""
    steps = [b - a for a, b in zip(here, there, strict=True)]
    reach = zip(steps, window.radius_zyx, strict=True)
    if here == there or any(abs(step) > radius for step, radius in reach):
        return np.zeros(2)
    scaled = zip(steps, window.steps_zyx, strict=True)
    square = sum((step * size) ** 2 for step, size in scaled)
    differ = ((image_ZYXC[here] - image_ZYXC[there]) ** 2).sum()
    near = exp(-square / (2 * window.spatial_sigma**2))
    alike = exp(-square / (2 * window.bilateral_sigma**2) - differ / (2 * COLOUR_SIGMA**2))
    return np.array([near, alike])


@pytest.mark.parametrize(
    ("size", "radius_zyx", "aspect", "channels"),
    [
        ((4, 5, 6), (1, 2, 2), 2.5, 1),
        ((1, 6, 7), (0, 3, 3), 1.0, 2),
        ((3, 3, 3), (2, 4, 4), 1.5, 1),
    ],
)
def test_it_is_mean_field(size: Zyx, radius_zyx: Zyx, aspect: float, channels: int) -> None:
    made = layer(radius_zyx, aspect)
    unary, image = noise(1, 3, *size), noise(1, channels, *size, seed=2)
    found = made(unary, image).detach()[0].movedim(0, -1).numpy()
    wanted = mean_field(made, *(tensor[0].movedim(0, -1).numpy() for tensor in (unary, image)))
    assert np.abs(found - wanted).max() < 1e-5


def test_its_gradients_are_right() -> None:
    made = layer((1, 1, 1), 2.0)
    unary, image = noise(1, 3, 2, 3, 3).requires_grad_(), noise(1, 1, 2, 3, 3, seed=2)
    names = [name for name, _ in made.named_parameters()]

    def run(unary: Tensor, *values: Tensor) -> Tensor:
        weights = dict(zip(names, values, strict=True))
        refined: Tensor = torch.func.functional_call(made, weights, (unary, image))
        return refined

    assert torch.autograd.gradcheck(run, (unary, *made.parameters()))
    assert torch.autograd.gradgradcheck(run, (unary, *made.parameters()))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window((1, 2, 2), 2.0)
    values, image = noise(2, 3, 4, 9, 8), noise(2, 1, 4, 9, 8, seed=2)
    whole = bilateral_sum(values, image, window)
    monkeypatch.setattr(crf_module, "CHUNK_VOXELS", values.numel() // 4)
    assert torch.allclose(bilateral_sum(values, image, window), whole, atol=1e-12)


def test_its_memory_beside_in_and_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf_module, "CHUNK_VOXELS", 2**12)

    def beside(rows: int) -> int:
        values, image = torch.rand(1, 4, 2, rows, 32), torch.rand(1, 1, 2, rows, 32)
        window = Window((1, 2, 2), 2.0)
        return recorded_peak(lambda: bilateral_sum(values, image, window)) - values.nbytes

    assert 0 < beside(512) <= 1.1 * beside(64)


def test_it_begins_near_the_identity() -> None:
    logits = noise(1, 4, 3, 8, 8).float()
    refined = CrfRnn(4, Window((1, 2, 2), 2.0), 3)(logits, noise(1, 1, 3, 8, 8).float())
    assert 0 < (refined - logits).abs().max() < 0.25


def test_before_it_joins_it_passes_logits_on() -> None:
    made = CrfRnn(4, Window((1, 2, 2), 2.0), 3)
    made.joined.fill_(value=False)
    logits = noise(1, 4, 3, 8, 8).float()
    assert made(logits, logits[:, :1]) is logits
    again = CrfRnn(4, Window((1, 2, 2), 2.0), 3)
    again.load_state_dict(made.state_dict())
    assert not again.joined


def test_it_works_in_float32_within_mixed_precision() -> None:
    made = CrfRnn(3, Window((1, 2, 2), 2.0), 2)
    logits, image = noise(1, 3, 3, 8, 8).float(), noise(1, 1, 3, 8, 8, seed=2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = made(logits.bfloat16(), image)
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed, made(logits.bfloat16().float(), image))


def test_wider_spacing_in_z_weakens_messages_across_sections() -> None:
    beliefs = torch.zeros(1, 1, 3, 3, 3)
    beliefs[0, 0, 0, 1, 1] = 1
    image = torch.zeros(1, 1, 3, 3, 3)
    near = bilateral_sum(beliefs, image, Window((1, 1, 1), 1.0))[0, 0, 1, 1, 1]
    far = bilateral_sum(beliefs, image, Window((1, 1, 1), 4.0))[0, 0, 1, 1, 1]
    assert 0 < far < near / 100


def test_it_gains_on_the_noisy_phantom() -> None:
    images, labels = phantom((6, 48, 48), seed=3)
    truth = torch.from_numpy(labels.astype(np.int64))[None]
    classes = int(truth.max()) + 1
    image = torch.from_numpy(images.astype(np.float32))[None, None]
    image = (image - image.mean()) / image.std()
    clean = F.one_hot(truth, classes).movedim(-1, 1).float()
    logits = 2 * clean + 1.5 * noise(*clean.shape, seed=4).float()
    made = CrfRnn(classes, Window((1, 2, 2), 2.0), 3)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.1)
    for _ in range(25):
        optimiser.zero_grad()
        loss = F.cross_entropy(made(logits[..., :24], image[..., :24]), truth[..., :24])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        refined = made(logits, image)[..., 24:].argmax(1)
    before = (logits[..., 24:].argmax(1) == truth[..., 24:]).float().mean()
    after = (refined == truth[..., 24:]).float().mean()
    assert after > before + 0.1
