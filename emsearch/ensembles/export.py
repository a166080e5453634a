"""An ensemble as one graph for other runtimes: torch.export and ONNX, checked against itself.

The graph takes a window of raw grey values and gives calibrated class probabilities; normalisation,
members and weights are in it. How windows are laid over a volume is for whoever runs it: the
window's shape and the halo within which results depend on its border stand in the file's metadata.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

import json
import warnings
from collections.abc import Callable
from io import BytesIO
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emsearch.errors import SpecError
from emsearch.inference.committee import tempered, vote_of
from emsearch.inference.ensemble import Ensemble
from emsearch.networks.late import settled
from emsearch.records.files import replacing

__all__ = ["TOLERANCE", "Graph", "export_torch", "facts_of", "require_equal", "window_of"]

TOLERANCE = 1e-4
"""Largest difference of a probability between an exported graph and the ensemble."""

_LOOKS = 3  # windows that are compared


class Graph(nn.Module):
    """An ensemble's members and what is done before and after them."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        committee = ensemble.committee
        self.networks = nn.ModuleList(
            settled(member.opened().network) for member in committee.members
        )
        self.weights = committee.weights
        self.is_majority = committee.is_majority
        self.mean, self.std = ensemble.card.mean, ensemble.card.std
        self.temperature = ensemble.card.temperature

    def forward(self, grey_BCZYX: Tensor) -> Tensor:
        """Return the probability_KZYX of a window of raw grey values, of batch 1, channel 1."""
        image_BCZYX = (grey_BCZYX - self.mean) / self.std
        parts = []
        for network, weight in zip(self.networks, self.weights, strict=True):
            said_KZYX = torch.softmax(network(image_BCZYX)[0], 0)
            parts.append(weight * (vote_of(said_KZYX) if self.is_majority else said_KZYX))
        return tempered(torch.stack(parts).sum(0), self.temperature)


def window_of(ensemble: Ensemble) -> tuple[int, int, int]:
    """Return the shape of the windows that the graph takes: the largest patch that suits all."""
    divisors = [member.tiling.divisor_zyx for member in ensemble.committee.members]
    patches = [member.patch_zyx for member in ensemble.card.members]
    sizes = []
    for axis in range(3):
        step = lcm(*(divisor[axis] for divisor in divisors))
        sizes.append(-(-max(patch[axis] for patch in patches) // step) * step)
    return sizes[0], sizes[1], sizes[2]


def export_torch(ensemble: Ensemble, path: Path) -> float:
    """Write the ensemble as a program of torch.export; return the largest difference found.

    Raises SpecError where a member cannot be exported, or the program differs.
    """
    program = traced(ensemble)
    content = BytesIO()
    torch.export.save(program, content, extra_files={"emsearch.json": _facts_text(ensemble)})
    loaded = torch.export.load(BytesIO(content.getvalue())).module()

    def run(grey_BCZYX: Any) -> Any:
        with torch.inference_mode():
            return loaded(torch.from_numpy(grey_BCZYX)).numpy()

    largest = require_equal(ensemble, run)
    with replacing(path) as scratch:
        scratch.write_bytes(content.getvalue())
    return largest


def traced(ensemble: Ensemble) -> Any:
    """Return the program of torch.export. Raises SpecError where a member cannot be exported."""
    example = torch.zeros(1, 1, *window_of(ensemble))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own parts
            return torch.export.export(Graph(ensemble).eval(), (example,))
    except Exception as error:
        said = str(error).strip().splitlines()
        raise SpecError(
            f"a network of this ensemble cannot be exported by torch {torch.__version__}: "
            f"{said[0] if said else type(error).__name__}"
        ) from error


def facts_of(ensemble: Ensemble) -> dict[str, Any]:
    """Return what whoever runs the graph must know, as JSON values."""
    card = ensemble.card
    return {
        "name": card.name,
        "classes": list(card.classes),
        "voxel_nm": list(card.voxel_nm),
        "window_zyx": list(window_of(ensemble)),
        "halo_zyx": [max(member.halo_zyx[axis] for member in card.members) for axis in range(3)],
        "input": "raw grey values, float32, shape (1, 1, z, y, x)",
        "output": "class probabilities, float32, shape (classes, z, y, x)",
        "emsearch": card.emsearch,
    }


def require_equal(ensemble: Ensemble, run: Callable[[Any], Any]) -> float:
    """Return the largest difference of `run` on a few windows to the ensemble's own networks.

    Raises SpecError where it is above `TOLERANCE`.
    """
    rng = np.random.default_rng(0)
    graph = Graph(ensemble).eval()
    largest = 0.0
    for _ in range(_LOOKS):
        noise = rng.standard_normal((1, 1, *window_of(ensemble)))
        grey_BCZYX = (ensemble.card.mean + ensemble.card.std * noise).astype(np.float32)
        with torch.inference_mode():
            expected = graph(torch.from_numpy(grey_BCZYX)).numpy()
        largest = max(largest, float(np.abs(np.asarray(run(grey_BCZYX)) - expected).max()))
    if not largest <= TOLERANCE:
        raise SpecError(
            f"the exported graph differs from the ensemble by {largest:.2g}, more than "
            f"{TOLERANCE}; it was not kept"
        )
    return largest


def _facts_text(ensemble: Ensemble) -> str:
    return json.dumps(facts_of(ensemble), indent=1)
