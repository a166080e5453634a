"""The replay of policies on tables, and of early stops on curves."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from emsearch.ranking.policy import policy_named
from experiments.replay.curves import read_curves, stops
from experiments.replay.made import KINDS, made, write
from experiments.replay.plot import draw
from experiments.replay.replay import main, replay
from experiments.replay.tables import Table, read_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path / "made.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["campaign", "architecture", "seed", "n_params", "mean_iou"])
        for architecture in range(60):
            true = rng.normal(0.5, 0.06)
            for seed in range(4 if architecture == 7 else 5):
                writer.writerow(["made", architecture, seed, 1, rng.normal(true, 0.06)])
    return path


def test_a_table_is_read_with_its_gaps(table: Path) -> None:
    read = read_table(table)
    assert read.score_AK.shape == (60, 5)
    assert read.trainings == 299
    assert np.isnan(read.score_AK[7, 4])


def test_rows_have_what_was_promised_and_repeat(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(table), "--policies", "default,random,repeats5,halving", "--json"]
    arguments += ["--trainings", "30,60,1000", "--simulations", "20", "--seed", "4"]
    main(arguments)
    first = capsys.readouterr().out
    main(arguments)
    assert capsys.readouterr().out == first
    rows = json.loads(first)
    assert len(rows) == 2 * 4  # a budget above the table is left out
    promised = {"table", "policy", "trainings", "best", "best_se", "top4", "top4_se"}
    assert promised | {"regret", "regret_se"} <= set(rows[0])
    assert all(row["regret"] >= 0 and row["best"] >= row["top4"] for row in rows)


def test_the_default_is_ahead_of_random_and_of_repeats(table: Path) -> None:
    measured = {
        name: replay(read_table(table), policy_named(name), 80, 300, seed=1).mean(axis=0)
        for name in ("default", "random", "repeats5")
    }
    assert measured["default"][2] < 0.8 * measured["repeats5"][2]
    assert measured["default"][2] < 0.8 * measured["random"][2]
    assert measured["default"][1] > measured["random"][1]


@pytest.mark.parametrize("policy", ["default", "random", "repeats5", "halving"])
def test_a_whole_table_can_be_trained_and_then_nothing_is_missed(policy: str) -> None:
    rng = np.random.default_rng(1)
    table = Table(name="small", score_AK=rng.normal(0.5, 0.1, (12, 2)))
    best, _, _, architectures = replay(table, policy_named(policy), 24, 5, seed=1).T
    assert best == pytest.approx(table.score_AK.max())
    assert architectures == pytest.approx(12)


@pytest.mark.parametrize("kind", KINDS)
def test_made_tables_are_read_back(kind: str, tmp_path: Path) -> None:
    score_AK = made(kind, 1.0, 5, np.random.default_rng(1))
    write(tmp_path / "made.csv", score_AK)
    assert read_table(tmp_path / "made.csv").score_AK == pytest.approx(score_AK, abs=1e-4)
    assert (score_AK < 0.1).any() == (kind == "collapsing")


def test_an_unknown_policy_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(table), "--policies", "oracle"])
    assert "no policy 'oracle'" in capsys.readouterr().err


def test_the_picture_names_every_policy_and_table(table: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "replay.svg"
    arguments = ["--trainings", "20,40", "--simulations", "5", "--plot", str(drawn)]
    main([str(table), *arguments, "--policies", "default,random"])
    text = drawn.read_text()
    assert text.startswith("<svg")
    assert all(word in text for word in ("made", "default", "random", "regret"))
    assert draw([]).startswith("<svg")


def test_stopping_what_learns_late_costs() -> None:
    rising = np.linspace(0.1, 0.5, 20) + np.linspace(0, 0.1, 40)[:, None]
    late = rising.copy()
    late[:, :4] = rising[::-1, :4]  # the worst look best at first
    for curves, costs in ((rising, False), (late, True)):
        rows = list(stops(curves, 50, np.random.default_rng(1)))
        assert any(row.cost_best > 0.01 for row in rows) == costs
        assert rows[0].saved == pytest.approx(0.25 * 0.9)


def test_only_curves_drawn_blindly_are_read(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    lines = ["campaign,architecture,seed,step,mean_iou,complete,drawn"]
    lines += [f"a,1,0,{step},0.{step},1,random" for step in (1, 2, 3)]
    lines += [f"a,2,0,{step},0.{step},1,random" for step in (1, 2)]
    lines += ["a,3,0,1,0.9,1,chosen", "a,4,0,1,0.9,0,random", "b,1,0,1,0.9,1,random"]
    path.write_text("\n".join(lines))
    assert read_curves(path, "a").tolist() == [[0.1, 0.2, 0.3], [0.1, 0.2, 0.2]]
