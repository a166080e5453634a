"""A small ensemble on disk, for tests that segment with one."""

from pathlib import Path

import torch

from emsearch.ensembles.package import pack
from emsearch.ensembles.run import run_ensemble
from emsearch.inference.card import Card, PackedMember
from emsearch.networks.build import build
from emsearch.records.order import EnsembleOrder
from emsearch.trees.arithmetic import Target, describe
from emsearch.trees.node import Tree
from tests.support.trials import CLASSES, FakePost, make_study, trained_member

__all__ = ["make_ensemble", "write_untrained"]


def make_ensemble(study: Path, device: str = "cpu") -> Path:
    """Train two small 2-D networks in a new study and return their ensemble's folder."""
    dataset = make_study(study)
    members = tuple(trained_member(study, dataset, trial) for trial in range(2))
    order = EnsembleOrder(pool=members, baselines=members, size=2, dataset=dataset, device=device)
    run_ensemble(order, FakePost(study=study, folder=study / "tasks" / "a"))
    return study / "ensembles" / "baseline"


def write_untrained(
    folder: Path, tree: Tree, members: int, patch_zyx: tuple[int, int, int]
) -> None:
    """Write an ensemble of networks of one tree that were never trained, each its own."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    weights = [folder.with_name(f"{folder.name}-{number}.pt") for number in range(members)]
    for number, path in enumerate(weights):
        torch.save(build(tree, 1, len(CLASSES), seed=number).state_dict(), path)
    halo_zyx = describe(tree, Target(classes=len(CLASSES), patch_zyx=patch_zyx)).halo_zyx
    packed = tuple(
        PackedMember(
            weights="",
            sha256="",
            weight=1 / members,
            tree=tree.to_dict(),
            patch_zyx=patch_zyx,
            trial=number,
            halo_zyx=halo_zyx,
        )
        for number in range(members)
    )
    card = Card(
        name="untrained",
        classes=CLASSES,
        voxel_nm=(40, 4, 4),
        mean=100.0,
        std=50.0,
        members=packed,
        method="top_k",
        scores={},
        emsearch="",
        torch=torch.__version__,
    )
    pack(folder, card, weights)
    for path in weights:
        path.unlink()
