"""A small ensemble on disk, for tests that segment with one."""

from pathlib import Path

from emsearch.ensembles.run import run_ensemble
from emsearch.records.order import EnsembleOrder
from tests.support.trials import FakePost, make_study, trained_member

__all__ = ["make_ensemble"]


def make_ensemble(study: Path, device: str = "cpu") -> Path:
    """Train two small 2-D networks in a new study and return their ensemble's folder."""
    dataset = make_study(study)
    members = tuple(trained_member(study, dataset, trial) for trial in range(2))
    order = EnsembleOrder(pool=members, baselines=members, size=2, dataset=dataset, device=device)
    run_ensemble(order, FakePost(study=study, folder=study / "tasks" / "a"))
    return study / "ensembles" / "baseline"
