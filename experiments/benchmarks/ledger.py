"""The study database: reading a leaderboard, and taking results in beside Optuna's RDB storage.

    python experiments/benchmarks/ledger.py --trials 20000 1000000 --rounds 3
    python experiments/benchmarks/ledger.py --postgresql postgresql://USER@HOST/EMPTY_DATABASE ...

A ledger is filled with candidates of two trials each, scored at one of two rungs in five classes,
and ranked by every measure. Beyond 100,000 trials the rankings' rows are made up and the classes'
scores left out: what is read is the same, and filling takes minutes instead of hours. A reading is
what `emsearch leaderboard --top 20` does on an open ledger, records made; the table gives the
median and the longest of many. Taken in are files of an inbox, as workers leave them, by whole
cycles of a coordinator: ledger, rankings, archive and snapshot. Optuna is told its results by
`ask`, `report` and `tell`, in the same run, one after another (A B A B).
"""

import argparse
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, make_url, text

from emsearch.coordinator.folder import create_study
from emsearch.coordinator.rankings import refresh_rankings
from emsearch.coordinator.serve import Coordinator
from emsearch.execution.executor import JobReport, JobState, Limits
from emsearch.ledger import changes, jobs
from emsearch.ledger.engine import parse_url
from emsearch.ledger.leaders import Sorting, Wanted
from emsearch.ledger.ranks import MEASURES, class_measure
from emsearch.ledger.store import Ledger, open_ledger
from emsearch.ledger.tables import Base
from emsearch.records.candidate import Candidate, Origin, Recipe
from emsearch.records.event import AttemptName
from emsearch.records.score import Score, Split
from emsearch.records.spec import parse_spec
from emsearch.records.trial import Stage
from emsearch.reports import live
from emsearch.reports.leaderboard import leaderboard
from emsearch.reports.pages import templates
from emsearch.trees.node import Node, Tree

CLASSES = ("intracellular", "membrane", "mitochondria", "synapse", "glia")
RUNGS = (100, 400)
SPEC = {
    "study": {"name": "many"},
    "dataset": {
        "classes": CLASSES,
        "voxel_nm": [50, 4.6, 4.6],
        "volumes": [{"image": "none", "labels": "none"}],
    },
    "search": {"rungs": RUNGS},
}
MOST_RANKED = 100_000
RECIPE = json.dumps(asdict(Recipe()))
Rows = Iterable[tuple[Any, ...]]


def fill(ledger: Ledger, trials: int) -> float | None:
    """Fill a ledger with so many trials; return the seconds that ranking took, where it was."""
    spec = parse_spec(SPEC).model_dump(mode="json")
    study = {"name": "many", "seed": 1, "spec": spec, "version": "0", "stage": Stage.SEARCHING}
    lease = ledger.acquire(ledger.create_study(study))
    with ledger.writing(lease) as connection:
        for table, rows in many(trials).items():
            load(connection, table, rows)
    took = None
    with ledger.writing(lease) as connection:
        began = time.perf_counter()
        if trials <= MOST_RANKED:
            refresh_rankings(connection, lease.study_id, RUNGS)
            took = round(time.perf_counter() - began, 1)
        else:
            load(connection, "rankings", rankings(trials))
    ledger.release(lease)
    with ledger._engine.connect() as connection:  # noqa: SLF001 - what a server does by itself
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
    return took


def many(trials: int) -> Mapping[str, Rows]:
    """Return the rows of each table, in the order of the tables' columns."""
    candidates = trials // 2
    numbers = range(1, candidates + 1)
    family = ("encoder_decoder_2d", "pyramid_2d", "hybrid_2d3d")
    return {
        "trees": (
            (1, f"{n:012x}", family[n % 3], "{}", 10_000 + 37 * n, 10**9, 0.5 + n % 90 / 10, 0.1)
            for n in numbers
        ),
        "candidates": (
            (n, 1, n, f"{n:012x}", RECIPE, "r", "random", None, n, True) for n in numbers
        ),
        "trials": (
            (t, 1, (t + 1) // 2, t % 2, t, "completed", 400, 400, 0.5, None, None, "", 80.0)
            for t in range(1, trials + 1)
        ),
        "evaluations": evaluations(trials),
        **({"class_scores": class_scores(trials)} if trials <= MOST_RANKED else {}),
    }


def rankings(trials: int) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each candidate and measure."""
    rng = random.Random(8)
    measures = (*MEASURES, *(class_measure(k) for k in range(len(CLASSES))))
    for n in range(1, trials // 2 + 1):
        for measure in measures:
            value = rng.gauss(0.6, 0.05)
            low, high = value - 0.04, value + 0.04
            yield (
                n,
                measure,
                1,
                -n,
                RUNGS[n % 2],
                value,
                value,
                low,
                high,
                0.1,
                0.0,
                2,
                0,
                1.79e9 + n,
            )


def evaluations(trials: int) -> Iterator[tuple[Any, ...]]:
    """Yield one evaluation a trial: half of the candidates came to the last rung."""
    rng = random.Random(5)
    for t in range(1, trials + 1):
        mean = rng.gauss(0.6, 0.05)
        step = RUNGS[(t + 1) // 2 % 2]
        yield t, t, step, mean, mean - 0.05, mean + 0.2, 0.7, 80.0, 1.79e9 + t


def class_scores(trials: int) -> Iterator[tuple[Any, ...]]:
    """Yield the classes' overlaps in each evaluation."""
    rng = random.Random(6)
    for t in range(1, trials + 1):
        for k in range(len(CLASSES)):
            yield t, k, rng.gauss(0.6, 0.1)


def load(connection: Connection, name: str, rows: Rows) -> None:
    """Load rows as fast as the database takes them."""
    table = Base.metadata.tables[name]
    columns = [column.key for column in table.columns]
    known = {"candidates": columns[:10], "trials": columns[:13]}.get(name, columns)
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(known))
        driver.executemany(f"INSERT INTO {name} ({', '.join(known)}) VALUES ({marks})", rows)  # noqa: S608
        return
    with driver.cursor().copy(f"COPY {name} ({', '.join(known)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


READINGS: dict[str, dict[str, Any]] = {
    "first 20": {},
    "first 20 by a class": {"by": "synapse"},
    "first 20 of a family": {"wanted": Wanted(families=["pyramid_2d"])},
    "first 20 by parameters": {"sorting": Sorting.PARAMETERS},
    "first page of web": {},
}


def read_board(ledger: Ledger, options: dict[str, Any]) -> None:
    """Read the leaderboard."""
    with ledger.reading() as connection:
        assert len(leaderboard(connection, 1, 20, **options)) == 20


def read_page(ledger: Ledger, _options: dict[str, Any]) -> None:
    """Read the first page of `emsearch web` and write its HTML."""
    with ledger.reading() as connection:
        entries = leaderboard(connection, 1, 50)
        page = live.home_page(connection, Path("/nowhere"), entries)
    facts = {field.name: getattr(page, field.name) for field in fields(page)}
    asked = {"wanted": Wanted(), "most": 50, "by": "", "sort": Sorting.RANK}
    places = {"top": "", "root": "/studies/1", "note": ""}
    html = templates().get_template("web_home.html.jinja").render(facts | asked | places)
    assert "candidates/" in html


def time_of(reading: Callable[[], None], readings: int) -> list[float]:
    """Return the seconds of each reading, a first one left out."""
    taken = []
    for _ in range(readings + 1):
        began = time.perf_counter()
        reading()
        taken.append(time.perf_counter() - began)
    return taken[1:]


class Idle:
    """An executor whose jobs run for ever."""

    poll_s = 0.0

    def limits(self) -> Limits:
        """Return that there are none."""
        return Limits()

    def reports(self, handles: Mapping[Any, str]) -> dict[Any, JobReport]:
        """Return that all run."""
        return dict.fromkeys(handles, JobReport(state=JobState.ALIVE))


def take_in(trials: int, steps: int, folder: Path) -> float:
    """Have a coordinator take results in from an inbox; return the seconds."""
    spec = parse_spec(SPEC)
    (folder / "study.toml").write_text("")
    ledger = create_study(folder / "study", spec, folder / "study.toml")
    lease = ledger.acquire(1)
    arithmetic = {"parameters": 10, "flops": 10, "memory_gb": 0.1, "step_s": 0.5}
    with ledger.writing(lease) as connection:
        changes.advance(connection, 1, {"stage": Stage.FINISHED})
        for number in range(trials):
            tree = Tree("encoder_decoder_2d", Node("convolution", deltas=(("width", number),)))
            candidate = Candidate(number=number, tree=tree, recipe=Recipe(), origin=Origin.RANDOM)
            fresh = changes.NewCandidate(
                candidate=candidate,
                digest=candidate.tree.digest(),
                recipe_digest=candidate.recipe.digest(),
                arithmetic=arithmetic,
            )
            [row] = changes.add_candidates(connection, 1, [fresh])
            trial = changes.NewTrial(
                candidate_id=row, repeat=0, seed=number, until_step=400, expected_s=1.0
            )
            changes.add_trials(connection, 1, [trial])
        jobs.begin_job(connection, 1, "job", [range(1, trials + 1)], 0.0)
        jobs.job_was_submitted(connection, "job", ["1"])
    leave_events(folder / "study" / "inbox", trials, steps)
    coordinator = Coordinator(ledger, lease, Idle(), folder / "study", spec)  # type: ignore[arg-type]
    began = time.perf_counter()
    while any((folder / "study" / "inbox").glob("*.json")):
        coordinator.cycle()
    took = time.perf_counter() - began
    with ledger.reading() as connection:
        taken = connection.scalar(text("SELECT count(*) FROM evaluations"))
        assert taken == trials * steps
        assert connection.scalar(text("SELECT count(*) FROM rankings WHERE score > 0"))
    ledger.close()
    return took


def leave_events(inbox: Path, trials: int, steps: int) -> None:
    """Write the results as workers do."""
    rng = random.Random(7)
    for trial in range(1, trials + 1):
        name = AttemptName(token="job", index=0, order=trial, restart=0)  # noqa: S106 - a job's
        for step in range(steps):
            mean = rng.random()
            score = Score(
                split=Split.VALIDATION,
                iou_K=(mean,) * len(CLASSES),
                mean_iou=mean,
                mean_iou_foreground=mean,
                accuracy=mean,
                voxels=7,
            )
            facts = {"step": 100 * (step + 1), "score": asdict(score), "loss": 1.0, "train_s": 1.0}
            said = {"kind": "evaluated", "at_s": 1.0, "facts": facts}
            (inbox / f"{name}.{step:06d}.json").write_text(json.dumps(said))


def optuna_take_in(trials: int, steps: int, folder: Path) -> float:
    """Tell Optuna's RDB storage as many results; return the seconds."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'optuna.sqlite'}", sampler=optuna.samplers.RandomSampler()
    )
    began = time.perf_counter()
    for _ in range(trials):
        trial = study.ask()
        for step in range(steps):
            trial.report(0.5, step)
        study.tell(trial, 0.5)
    return time.perf_counter() - began


STEPS = 5  # results that a trial leaves


def rate_of(job: Callable[[int, int, Path], float], results: int) -> float:
    """Return the results a second of a job in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return round(results / job(results // STEPS, STEPS, Path(folder)), 1)


def readings_of(where: str, trials: int, readings: int) -> list[dict[str, Any]]:
    """Return the rows of the table of readings for one database."""
    with tempfile.TemporaryDirectory() as folder:
        if where:
            empty(where)
        url = parse_url(where or f"sqlite:///{folder}/ledger.sqlite")
        ledger = open_ledger(url, create=True)
        began = time.perf_counter()
        ranking_s = fill(ledger, trials)
        filling_s = time.perf_counter() - began
        rows = []
        for name, options in READINGS.items():
            reader = read_page if "page" in name else read_board
            taken = time_of(partial(reader, ledger, options), readings)
            rows.append(
                {
                    "database": url.get_backend_name(),
                    "trials": trials,
                    "reading": name,
                    "median_ms": round(1000 * statistics.median(taken), 2),
                    "longest_ms": round(1000 * max(taken), 2),
                    "ranking_s": ranking_s,
                    "filling_s": round(filling_s, 1),
                }
            )
        ledger.close()
    return rows


def empty(where: str) -> None:
    """Remove what the last filling left in a PostgreSQL database."""
    from sqlalchemy import create_engine

    engine = create_engine(make_url(where).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()


def main() -> None:
    """Measure, print tables and JSON."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--trials", type=int, nargs="*", default=[20_000])
    parser.add_argument("--readings", type=int, default=50)
    parser.add_argument("--postgresql", default="", help="URL of an empty database")
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--optuna-results", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    for trials in options.trials:
        for where in ["", *([options.postgresql] if options.postgresql else [])]:
            rows += readings_of(where, trials, options.readings)
    rates: dict[str, list[float]] = {"emsearch": [], "Optuna RDB": []}
    for _ in range(options.rounds):
        rates["emsearch"].append(rate_of(take_in, options.results))
        rates["Optuna RDB"].append(rate_of(optuna_take_in, options.optuna_results))
    if not options.json:
        print(f"{'database':12}{'trials':>10}  {'reading':26}{'median ms':>10}{'longest ms':>12}")
        for row in rows:
            print(
                f"{row['database']:12}{row['trials']:>10}  {row['reading']:26}"
                f"{row['median_ms']:>10}{row['longest_ms']:>12}"
            )
        for name, found in rates.items() if options.rounds else ():
            print(f"{name:12} {statistics.median(found):>10} results/s on SQLite  {found}")
    print(json.dumps({"readings": rows, "results_per_s": rates}))


if __name__ == "__main__":
    main()
