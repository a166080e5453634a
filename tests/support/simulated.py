"""A study whose coordinator and cluster advance step by step."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from emsearch.coordinator.folder import create_study
from emsearch.coordinator.serve import Coordinator
from emsearch.ledger import jobs, listings, queries
from emsearch.ledger.rows import AnyRow, Rows
from emsearch.ledger.store import Ledger
from emsearch.records.spec import StudySpec
from emsearch.records.trial import ENDED, Stage
from tests.support.fake_cluster import FakeCluster
from tests.support.studies import spec_of, write_study_file


@dataclass
class World:
    """A study, its ledger, its cluster, and the coordinator that holds it."""

    folder: Path
    ledger: Ledger
    cluster: FakeCluster
    coordinator: Coordinator

    @classmethod
    def of(cls, place: Path, spec: StudySpec | None = None, **cluster: Any) -> "World":
        """Make a study in `place`."""
        folder = place / "study"
        spec = spec or spec_of()
        ledger = create_study(folder, spec, write_study_file(place))
        fake = FakeCluster(folder, **cluster)
        coordinator = Coordinator(ledger, ledger.acquire(1), fake, folder, spec)
        return cls(folder=folder, ledger=ledger, cluster=fake, coordinator=coordinator)

    def finish(self, **tick: float) -> Stage:
        """Advance until the study is over, or paused with nothing running."""
        for _ in range(2000):
            stage, happened = self.coordinator.cycle()
            if self.coordinator.is_over:
                return stage
            if not happened:
                self.cluster.tick(Random(0), **tick)
        raise AssertionError("the study does not end")

    def until(self, stage: Stage) -> None:
        """Advance until the study is in a stage and jobs run."""
        for _ in range(500):
            reached, happened = self.coordinator.cycle()
            if reached == stage and self.jobs():
                return
            assert reached not in ENDED
            if not happened:
                self.cluster.tick(Random(0))
        raise AssertionError(f"it does not come to {stage}")

    def settle(self) -> None:
        """Let the coordinator do all that there is to do now."""
        for _ in range(20):
            self.coordinator.cycle()

    def study(self) -> AnyRow:
        """Return the study's row."""
        with self.ledger.reading() as connection:
            return queries.study(connection)

    def jobs(self) -> Rows:
        """Return the tasks that are not known to be over."""
        with self.ledger.reading() as connection:
            return jobs.live_jobs(connection, 1)

    def trials(self) -> Rows:
        """Return all trials."""
        with self.ledger.reading() as connection:
            return queries.trials_of(connection, 1)

    def attempts(self, trial: int) -> Rows:
        """Return the attempts at a trial."""
        with self.ledger.reading() as connection:
            return listings.attempts_of_trials(connection, 1, trial=trial)
