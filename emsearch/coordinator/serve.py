"""The loop: observe, decide, act. It may be killed at any instant and started again anywhere."""

import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

from sqlalchemy.exc import DBAPIError

from emsearch.coordinator.act import Actor
from emsearch.coordinator.actions import Advance, Promote
from emsearch.coordinator.commands import obey, read_commands
from emsearch.coordinator.decide import decide
from emsearch.coordinator.folder import check_version
from emsearch.coordinator.history import History
from emsearch.coordinator.inbox import MOST_EVENTS, clear, read_inbox
from emsearch.coordinator.keeping import Keeper
from emsearch.coordinator.patience import Patience
from emsearch.coordinator.rankings import RankingKeeper
from emsearch.coordinator.reading import Outside, read_view
from emsearch.coordinator.reopen import reopen
from emsearch.coordinator.view import Plan, View, Window
from emsearch.errors import LeaseError
from emsearch.execution.executor import Executor, JobReport, JobState
from emsearch.ledger import intake, jobs, queries
from emsearch.ledger.store import Lease, Ledger
from emsearch.records.job import TaskName
from emsearch.records.spec import StudySpec, parse_spec
from emsearch.records.trial import ENDED, Stage

__all__ = ["Coordinator", "Manner", "serve"]

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.5
_LONGEST_POLL_S = 5.0  # where the cluster is asked seldom: users' commands and events come sooner
_LEAVE_S = 60.0  # what workers are given to leave a checkpoint when the coordinator is stopped
_RENEW_S = 15.0


class Coordinator:
    """One coordinator of one study, holding its lease."""

    def __init__(
        self,
        ledger: Ledger,
        lease: Lease,
        executor: Executor,
        folder: Path,
        spec: StudySpec,
        remake: Callable[[StudySpec], Executor] | None = None,
    ) -> None:
        """Hold the study; `remake` makes another executor where users change its cluster."""
        self._remake = remake
        self._ledger = ledger
        self._lease = lease
        self._executor = executor
        self._folder = folder
        self._spec = spec
        self._plan = Plan.of(spec)
        self._actor = Actor(ledger, lease, executor, folder, spec)
        self._actor.tidy()
        self._keeper = Keeper(ledger, lease, folder)
        self._rankings = RankingKeeper(lease.study_id, self._plan.rungs, goal=self._plan.goal)
        self._history = History()
        self._renewed_s = 0.0
        self._known: dict[TaskName, str] = {}
        self._stage = Stage.IMPORTING
        self._quiet: tuple[Mapping[TaskName, JobReport], Window] | None = None
        """What the cluster said in the last cycle, where nothing happened in that."""
        self.is_paused = False
        """Nothing runs, and nothing will until somebody has looked."""
        self.is_over = False
        """There is nothing to do for a coordinator."""

    def cycle(self) -> tuple[Stage, bool]:
        """Observe, decide, act once; return the stage and whether anything happened.

        Where nothing is new outside since a cycle in which nothing happened, nothing follows, and
        the ledger need not be asked.
        """
        asked = self._obey()
        reports = self._reports()  # before the inbox: what a dead job said is in there by then
        heard = self._take_in()
        window = self._actor.jobs.window.look()
        is_quiet = not asked and not heard and self._quiet == (reports, window)
        if is_quiet and not self._rankings.is_due():
            self._renew_in_time()
            self._keeper.tend()
            return self._stage, False
        self._quiet = None  # whatever fails from here on is done again in the next cycle
        view = self._view(reports, window, is_inbox_full=heard == MOST_EVENTS)
        actions = decide(view)
        self._history.expect(
            trial for one in actions if isinstance(one, Promote) for trial in one.go_on
        )
        self._actor.act(actions)
        if heard or actions or self._rankings.is_due():
            self._refresh(whole=any(isinstance(action, Advance) for action in actions))
            self._keeper.archive()
        self._renew_in_time()
        self._keeper.tend()
        happened = bool(asked or heard or actions)
        has_unknown = any(job.handle is None for job in view.jobs)
        self._quiet = None if happened or has_unknown else (reports, window)
        self._stage = view.stage
        is_asked = any((self._folder / "commands").glob("*.json"))
        self.is_paused = view.is_paused and not view.jobs and not is_asked
        self.is_over = self.is_paused or _is_over(view)
        return view.stage, happened

    @property
    def longest_wait_s(self) -> float:
        """Seconds to wait at most before the next cycle: a poll of the cluster lasts longer."""
        poll_s = self._executor.poll_s
        return min(poll_s, _LONGEST_POLL_S) if poll_s else _LONGEST_WAIT_S

    def _view(
        self, reports: Mapping[TaskName, JobReport], window: Window, *, is_inbox_full: bool
    ) -> View:
        outside = Outside(
            now_s=time.time(), reports=reports, window=window, is_inbox_full=is_inbox_full
        )
        with self._ledger.reading() as connection:
            return read_view(connection, self._plan, outside, self._history)

    def leave(self) -> None:
        """Ask all jobs to leave a checkpoint, wait for them, and take in what they say."""
        handles = self._handles()
        deadline = time.monotonic() + _LEAVE_S
        is_told = self._actor.jobs.tell_to_end(handles)
        while time.monotonic() < deadline and (not is_told or self._any_alive(handles)):
            time.sleep(_LONGEST_WAIT_S)
            is_told = is_told or self._actor.jobs.tell_to_end(handles)
        while self._take_in():
            pass

    def close(self) -> None:
        """Leave rankings, archive and snapshot as of now."""
        self._refresh(whole=True)
        self._keeper.leave()

    def _reports(self) -> dict[TaskName, JobReport]:
        if self._quiet is None:
            self._known = self._handles()
        return self._executor.reports(self._known) if self._known else {}

    def _handles(self) -> dict[TaskName, str]:
        with self._ledger.reading() as connection:
            rows = jobs.live_jobs(connection, self._lease.study_id)
        return {
            TaskName(token=row.token, index=row.task): row.handle
            for row in rows
            if row.handle is not None
        }

    def _any_alive(self, handles: dict[TaskName, str]) -> bool:
        reports = self._executor.reports(handles).values()
        return any(report.state == JobState.ALIVE for report in reports)

    def _obey(self) -> int:
        """Take in what users ask; return how much that was."""
        commands = read_commands(self._folder / "commands")
        for command in commands:
            with self._ledger.writing(self._lease) as connection:
                obey(connection, self._lease.study_id, command)
            (self._folder / "commands" / f"{command.name}.json").unlink(missing_ok=True)
        if commands:
            self._history = History()  # what had a verdict may go on
            self._reload()
        return len(commands)

    def _reload(self) -> None:
        """Read the study's spec again: users may have extended it."""
        with self._ledger.reading() as connection:
            spec = parse_spec(queries.study(connection).spec)
        if spec != self._spec:
            if self._remake is not None and spec.cluster != self._spec.cluster:
                self._executor = self._remake(spec)
            self._spec, self._plan = spec, Plan.of(spec)
            self._actor = Actor(self._ledger, self._lease, self._executor, self._folder, spec)

    def _take_in(self) -> int:
        inbox = self._folder / "inbox"
        events = read_inbox(inbox)
        if not events:
            return 0
        with self._ledger.writing(self._lease) as connection:
            intake.take_in(connection, self._lease.study_id, events)
        self._keeper.archive()  # before the inbox forgets them
        clear(inbox, events)
        return len(events)

    def _refresh(self, *, whole: bool) -> None:
        with self._ledger.writing(self._lease) as connection:
            self._rankings.refresh(connection, whole=whole)
        self._renewed_s = time.monotonic()

    def _renew_in_time(self) -> None:
        if time.monotonic() - self._renewed_s > _RENEW_S:
            with self._ledger.writing(self._lease):
                self._renewed_s = time.monotonic()


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How a coordinator behaves."""

    resumes: bool = True
    """Somebody asked for it: a paused study goes on. One that is merely restarted stays paused."""
    takes_jobs_along: bool = True
    """Stopped, it has its jobs leave their checkpoints; else they go on without it."""
    patience_s: float = 0.0
    """How long it waits for the lease of one that holds the study: whoever is started again by
    the cluster, on another node, waits until the lease of its dead self has run out."""
    remake: Callable[[StudySpec], Executor] | None = None
    """Makes another executor where users extend the study with another cluster section."""
    on_cycle: Callable[[], None] = lambda: None
    """Called after every cycle."""


def serve(
    ledger: Ledger, executor: Executor, folder: Path, spec: StudySpec, manner: Manner
) -> Stage:
    """Coordinate a study until it ends or pauses; return the stage that it is in then.

    Interrupted (Ctrl-C, SIGTERM), it leaves between two cycles and raises KeyboardInterrupt.
    Raises LeaseError where another coordinator holds the study, or has taken it over.
    """
    check_version(ledger)
    with ledger.reading() as connection:
        study_id = queries.study(connection).id
    lease = _acquire(ledger, study_id, manner.patience_s)
    try:
        if manner.resumes:
            with ledger.writing(lease) as connection:
                reopen(connection, study_id, time.time())
        coordinator = Coordinator(ledger, lease, executor, folder, spec, manner.remake)
        with _Interruption() as interruption:
            stage = _loop(coordinator, manner.on_cycle, interruption)
            if interruption.came and manner.takes_jobs_along:
                coordinator.leave()
            coordinator.close()
            if interruption.came:
                raise KeyboardInterrupt
            return stage
    finally:
        ledger.release(lease)


def _acquire(ledger: Ledger, study_id: int, patience_s: float) -> Lease:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return ledger.acquire(study_id)
        except LeaseError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_LONGEST_WAIT_S)


def _is_over(view: View) -> bool:
    return view.stage == Stage.FINISHED or (view.stage in ENDED and not view.jobs)


class _Interruption:
    """Notes Ctrl-C, a SIGTERM or a closed terminal, so that the loop ends between two cycles.

    In the midst of one, a job could just have been started that nobody knows to stop yet.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.came = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.came = True
        signal.signal(number, signal.default_int_handler)  # whoever asks twice is in a hurry


def _loop(
    coordinator: Coordinator, on_cycle: Callable[[], None], interruption: _Interruption
) -> Stage:
    wait_s = _SHORTEST_WAIT_S
    patience = Patience(lambda text: print(f"emsearch: {text}", file=sys.stderr))  # noqa: T201
    while True:
        try:
            stage, happened = coordinator.cycle()
            on_cycle()
        except (DBAPIError, OSError) as error:
            if interruption.came:
                raise
            patience.bear(error)
            continue
        patience.all_is_well()
        if coordinator.is_over or interruption.came:
            return stage
        wait_s = _SHORTEST_WAIT_S if happened else min(wait_s * 1.5, coordinator.longest_wait_s)
        if not happened:
            time.sleep(wait_s)
