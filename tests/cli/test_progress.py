import io
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from emsearch.cli.progress import Progress, clock
from emsearch.coordinator.folder import create_study
from emsearch.coordinator.serve import Coordinator
from emsearch.ledger.store import Ledger
from tests.support.fake_cluster import FakeCluster
from tests.support.studies import spec_of, write_study_file


@pytest.fixture
def halfway(tmp_path: Path) -> Ledger:
    """A study that has reached its first rung."""
    folder, spec = tmp_path / "study", spec_of()
    ledger = create_study(folder, spec, write_study_file(tmp_path))
    cluster = FakeCluster(folder)
    coordinator = Coordinator(ledger, ledger.acquire(1), cluster, folder, spec)
    for _ in range(12):
        coordinator.cycle()
        cluster.tick(Random(0))
    coordinator.close()  # ranks at last what came in too fast to be ranked at once
    return ledger


def shown(ledger: Ledger, *, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    with Progress(ledger, console) as progress:
        progress.show()
    return out.getvalue()


def test_a_pipe_gets_a_plain_line(halfway: Ledger) -> None:
    (line,) = shown(halfway, terminal=False).splitlines()
    assert line.startswith("tiny: searching")
    assert "%" in line
    assert "waiting" in line
    assert "\x1b" not in line


def test_a_terminal_gets_a_bar_with_what_is_best(halfway: Ledger) -> None:
    text = shown(halfway, terminal=True)
    assert "━" in text
    assert "best so far: candidate" in text


def test_a_second_look_too_soon_costs_nothing(halfway: Ledger) -> None:
    out = io.StringIO()
    with Progress(halfway, Console(file=out, force_terminal=False)) as progress:
        progress.show()
        progress.show()
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (45.0, "45 s"), (61.0, "1 min"), (3500.0, "58 min"), (11_100.0, "3 h 05 min")],
)
def test_seconds_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert clock(seconds) == words
