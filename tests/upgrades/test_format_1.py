"""Trees and weights that the first format wrote can be read for ever.

The files beside this one are never changed; a later format adds a folder of its own.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from emsearch.errors import SpecError
from emsearch.networks.build import rebuild
from emsearch.trees.arithmetic import Target, describe
from emsearch.trees.node import Tree
from emsearch.trees.presets import PRESETS

FOLDER = Path(__file__).parent / "format-1"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.pt"))


def read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return values


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_an_old_tree_has_its_digest_still(name: str) -> None:
    assert Tree.from_dict(read(name)["tree"]).digest() == read(name)["digest"]


@pytest.mark.parametrize("name", NETWORKS)
def test_an_old_network_predicts_as_it_did(name: str) -> None:
    kept = torch.load(FOLDER / f"{name}.pt", weights_only=True)
    network = rebuild(read(name)["tree"], kept["state"])
    with torch.no_grad():
        assert torch.allclose(network(kept["image"]), kept["logits"], atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_an_old_preset_has_its_parameters_still(name: str) -> None:
    preset = PRESETS[name]
    target = Target(channels=preset.channels, classes=7, patch_zyx=preset.patch_zyx)
    tree = Tree.from_dict(read(f"preset-{name}")["tree"])
    assert describe(tree, target).parameters == read(f"preset-{name}")["parameters"]


def test_weights_of_another_tree_are_refused() -> None:
    kept = torch.load(FOLDER / "dense_2d.pt", weights_only=True)
    with pytest.raises(SpecError, match="the weights are not those of tree"):
        rebuild(read("thin_3d")["tree"], kept["state"])
    with pytest.raises(SpecError, match="no weights of a network"):
        rebuild(read("thin_3d")["tree"], {})
