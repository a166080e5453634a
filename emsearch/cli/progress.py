"""Live progress of a study: bars in a terminal, now and then a line elsewhere."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from emsearch.ledger import queries
from emsearch.ledger.place import out_of_reach
from emsearch.ledger.store import Ledger
from emsearch.records.trial import ENDED, Stage
from emsearch.reports.leaderboard import Entry, leaderboard
from emsearch.reports.status import Status, status
from emsearch.reports.study import open_study

__all__ = ["Progress", "follow"]

_EVERY_S = 0.5
_LINE_EVERY_S = 20.0


class Progress:
    """Shows how far a study is, as a context manager."""

    def __init__(self, ledger: Ledger, console: Console | None = None) -> None:
        self._ledger = ledger
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._shown_s = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self) -> None:
        """Show where the study is, if it is time to; cheap enough to call at every cycle."""
        now = time.monotonic()
        every_s = _EVERY_S if self._console.is_terminal else _LINE_EVERY_S
        if now - self._shown_s < every_s and self._shown_s:
            return
        self._shown_s = now
        with self._ledger.reading() as connection:
            study_id = queries.study(connection).id
            where = status(connection, study_id)
            leaders = leaderboard(connection, study_id, most=1)
        best = _best(leaders)
        if self._console.is_terminal:
            self._live.update(_panel(where, best), refresh=True)
        else:
            self._console.print(_line(where, best), highlight=False, soft_wrap=True)


def follow(folder: Path, every_s: float) -> bool:
    """Show how far a study is until it ends or nothing of it runs; return whether it finished."""
    where = _show(folder, every_s)
    while where is None:
        where = _show(folder, every_s)
    console = Console()
    console.print(f"{where.name}: {where.stage}", highlight=False, soft_wrap=True)
    if where.paused_why:
        console.print(where.paused_why, highlight=False, soft_wrap=True)
    if where.stage not in ENDED:
        console.print(
            f"No coordinator holds it. Go on: emsearch resume {folder}",
            highlight=False,
            soft_wrap=True,
        )
    return where.stage == Stage.FINISHED


def _show(folder: Path, every_s: float) -> Status | None:
    """Show a study until nothing of it runs; None where its ledger is to be opened anew.

    The last snapshot of a coordinator elsewhere still names it.
    """
    with open_study(folder) as study, Progress(study.ledger) as progress:
        while True:
            where = study.status()
            progress.show()
            if where.stage in ENDED or not where.coordinator:
                return where
            if study.note() and not out_of_reach(folder):
                return None
            time.sleep(every_s)


def clock(seconds: float) -> str:
    """Return seconds as people say them: 45 s, 12 min, 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _panel(where: Status, best: str) -> Group:
    head = Text.assemble((where.name, "bold"), "  ", (where.stage, "cyan"), "  ", _counts(where))
    bar = Table.grid(padding=(0, 1))
    left = clock(where.remaining_s) + " left" if where.remaining_s is not None else ""
    bar.add_row(ProgressBar(total=1.0, completed=_share(where), width=40), _percent(where), left)
    return Group(head, bar, Text(best, style="dim"))


def _line(where: Status, best: str) -> str:
    parts = [f"{where.name}: {where.stage}", _percent(where), _counts(where)]
    if where.remaining_s is not None:
        parts.append(f"{clock(where.remaining_s)} left")
    return " · ".join([*parts, best] if best else parts)


def _best(leaders: Sequence[Entry]) -> str:
    if not leaders or leaders[0].score is None:
        return ""
    best = leaders[0]
    return f"best so far: candidate {best.candidate}, {best.score:.3f} at step {best.step}"


def _share(where: Status) -> float:
    return where.done_steps / where.total_steps if where.total_steps else 0.0


def _percent(where: Status) -> str:
    return f"{_share(where):4.0%}"


def _counts(where: Status) -> str:
    return ", ".join(f"{number} {state}" for state, number in where.trials.items())
