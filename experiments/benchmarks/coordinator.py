"""What coordinating costs: CPU a trial, and whether a cycle gets dearer as the study grows.

    python experiments/benchmarks/coordinator.py --trials 10000 [--waiting 60] [--json]

A study of random trees runs to its end on a cluster in memory (that of the tests) which takes at
most 100 tasks at once, in arrays of at most 50; trainings end at once. Counted is the coordinator's
own CPU time, everything that it does included (drawing trees, writing orders, reading events, the
ledger, rankings), but not the cluster's. A cycle is one pass of observe, decide, act; its median is
taken over the cycles in which something happened, at 1 % and at the last 10 % of the trials.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil
from sqlalchemy import event
from sqlalchemy.engine import Engine

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests' cluster

from emsearch.coordinator.serve import Coordinator
from emsearch.execution.executor import Limits
from emsearch.ledger import queries
from emsearch.records.trial import ENDED, TrialState
from tests.support.simulated import World
from tests.support.studies import spec_of

LIMITS = Limits(max_array=50, max_submitted=100)


@dataclass
class Cycle:
    """What one cycle took."""

    finished: int
    cpu_s: float
    wall_s: float
    statements: int


@dataclass
class Run:
    """What a study took."""

    cycles: list[Cycle] = field(default_factory=list)

    def median_s(self, least: int, most: int) -> float:
        """Return the median CPU of the cycles while so many trials were finished."""
        return statistics.median(c.cpu_s for c in self.cycles if least <= c.finished < most)

    def statements(self, least: int, most: int) -> float:
        """Return the median number of SQL statements of these cycles."""
        return statistics.median(c.statements for c in self.cycles if least <= c.finished < most)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the SQL statements that are executed meanwhile."""
    count = [0]

    def note(*_arguments: object) -> None:
        count[0] += 1

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield count
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def study(place: Path, trials: int, repeats: int) -> World:
    """Return a study of so many random trees and the baseline, trained once each way."""
    spec = spec_of(
        search={"candidates": trials // repeats, "repeats": repeats, "rungs": [10]},
        training={"evaluations": 1},
        tune={"trials": 0},
        ensemble={"size": 1},
        space={"max_parameters": 2_000_000},
        cluster={"max_jobs": 100_000},
    )
    return World.of(place, spec, limits=LIMITS)


def run(world: World) -> Run:
    """Run a study to its end and measure each cycle."""
    done = Run()
    with counted() as statements:
        while True:
            finished = _finished(world)
            before, cpu, wall = statements[0], time.process_time(), time.perf_counter()
            stage, happened = world.coordinator.cycle()
            cycle = Cycle(
                finished=finished,
                cpu_s=time.process_time() - cpu,
                wall_s=time.perf_counter() - wall,
                statements=statements[0] - before,
            )
            if happened:
                done.cycles.append(cycle)
            if stage in ENDED:
                return done
            if not happened:
                world.cluster.tick(Random(0))
                world.cluster.forget({row.token for row in world.jobs()})


def _finished(world: World) -> int:
    return len({trial for trial, _, _ in world.cluster.trained})


def waiting(coordinator: Coordinator, seconds: float) -> dict[str, float]:
    """Return the share of a core and the memory of a coordinator with nothing to do."""
    cpu, began = time.process_time(), time.monotonic()
    while time.monotonic() - began < seconds:
        coordinator.cycle()
        time.sleep(coordinator.longest_wait_s)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    return {"core_percent": 100 * share, "memory_mb": psutil.Process().memory_info().rss / 1e6}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=2, help="trainings of each tree")
    parser.add_argument("--waiting", type=float, default=0.0, help="seconds to watch it wait")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = study(Path(folder), options.trials, options.repeats)
        done = run(world)
        with world.ledger.reading() as connection:
            completed = len(queries.trials_of(connection, 1, TrialState.COMPLETED))
        early = (options.trials // 100, options.trials // 100 + options.trials // 20)
        late = (options.trials - options.trials // 10, options.trials + 1)
        facts = {
            "trials": completed,
            "cpu_ms_a_trial": 1e3 * sum(one.cpu_s for one in done.cycles) / completed,
            "cycle_early_ms": 1e3 * done.median_s(*early),
            "cycle_late_ms": 1e3 * done.median_s(*late),
            "statements_early": done.statements(*early),
            "statements_late": done.statements(*late),
            "most_at_once": world.cluster.most_at_once,
            "largest_array": max(one.tasks for one in world.cluster.submissions),
            "torch": "torch" in sys.modules,
        }
        facts["late_over_early"] = facts["cycle_late_ms"] / facts["cycle_early_ms"]
        if options.waiting:
            facts |= waiting(world.coordinator, options.waiting)
    if options.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(
                f"{name:20}{value:>12.3f}"
                if isinstance(value, float)
                else f"{name:20}{value!s:>12}"
            )


if __name__ == "__main__":
    main()
