"""The proof's study files; its hours of training are no test."""

import tomllib

import pytest

from emsearch.records.spec import StudySpec, parse_spec
from experiments.proof.proof import ARMS, DATASETS, ROOT, study_of, tables, to_toml


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_study_with_the_dataset_of_its_file(dataset: str, arm: str) -> None:
    base = tomllib.loads((ROOT / "experiments" / f"{dataset}.toml").read_text())
    text = to_toml(study_of(base, arm, seed=2, minutes=60, baseline_s=300))
    spec = parse_spec(tomllib.loads(text))
    assert spec.study.seed == 2
    assert spec.dataset == parse_spec(base).dataset
    assert spec.space == parse_spec(base).space


def test_arms_spend_the_same_minutes() -> None:
    base = tomllib.loads((ROOT / "experiments" / "lucchi-pp.toml").read_text())

    def spec(arm: str) -> StudySpec:
        return parse_spec(study_of(base, arm, seed=1, minutes=60, baseline_s=300))

    assert spec("default").search.gpu_hours == spec("random").search.gpu_hours == 1.0
    assert spec("seeds").ensemble.size == 12
    assert spec("long").search.rungs == (12 * 800,)
    assert spec("long").tune.survivors == spec("seeds").tune.survivors == 0


def test_ours_is_compared_seed_by_seed_at_the_same_minutes() -> None:
    def line(arm: str, seed: int, minutes: float, **test: float) -> dict[str, object]:
        where = {"dataset": "d", "arm": arm, "seed": seed, "minutes": minutes}
        return where | {"trained_minutes": minutes, "baseline_s": 60, "test": test}

    lines = [
        line("default", 1, 10, ensemble=0.6, single=0.5),
        line("default", 2, 10, ensemble=0.8, single=0.7),
        line("random", 1, 10, ensemble=0.5, single=0.5),
        line("random", 2, 10, ensemble=0.6, single=0.5),
        line("seeds", 1, 20, ensemble=0.9),
    ]
    text = "\n".join(tables(lines, ["d"]))
    assert "| d | ensemble | random search's ensemble | 2 | 0.150 ± " in text
    assert "| d | default | ensemble | 2 | 10 | 0.700 ± " in text
    assert "the best ensemble of baseline seeds" not in text  # another budget is no comparison
