from pathlib import Path

import pytest

from emsearch.records.dataset import Dataset
from emsearch.records.order import EnsembleOrder, Member
from tests.support.trials import FakePost, make_study, trained_member


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset, list[Member]]:
    """A study with four trained trials; tests leave it as it is but for its ensembles."""
    study = tmp_path_factory.mktemp("study")
    dataset = make_study(study)
    steps = {"horizon": 30, "until_step": 30, "evaluate_at": (30,)}
    return study, dataset, [trained_member(study, dataset, trial, **steps) for trial in range(4)]


@pytest.fixture
def order(studied: tuple[Path, Dataset, list[Member]]) -> EnsembleOrder:
    _, dataset, members = studied
    return EnsembleOrder(
        pool=tuple(sorted(members, key=lambda member: -member.score)),
        baselines=tuple(members[:2]),
        size=3,
        dataset=dataset,
        study="tiny",
        device="cpu",
    )


@pytest.fixture
def post(studied: tuple[Path, Dataset, list[Member]], request: pytest.FixtureRequest) -> FakePost:
    study, _, _ = studied
    return FakePost(study=study, folder=study / "tasks" / request.node.name / "a")
