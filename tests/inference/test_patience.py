"""Sharing blocks over a cluster that refuses, is silent, or is left in the middle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsearch.errors import ExecutionError, NoAnswerError, RefusedError, StateError
from emsearch.execution.executor import Ending, JobReport, JobState, Limits, Request
from emsearch.inference import sharing
from emsearch.inference.box import Box
from emsearch.inference.crew import Crew, work_folder
from emsearch.inference.output import Output, begin
from emsearch.inference.sharing import share
from emsearch.inference.stream import run_segment
from emsearch.records.event import AskedToLeaveError, AttemptName, EventKind
from emsearch.records.files import read_json, write_json
from emsearch.records.job import JobFile, TaskName
from emsearch.records.order import Order, SegmentOrder
from emsearch.records.trial import Cause
from tests.support.trials import FakePost

pytestmark = pytest.mark.usefixtures("small_blocks")

_DONE = JobReport(state=JobState.GONE, ending=Ending(cause=Cause.COMPLETED))


class Moody:
    """An executor that carries jobs out at once, unless it is in a mood; one mood a submission."""

    poll_s = 0.0

    def __init__(self, folder: Path, *moods: str) -> None:
        self._folder = folder
        self._moods = list(moods)
        self.submissions = 0
        self.known: dict[str, int] = {}
        self.stopped: list[str] = []
        self.alive = 0
        """How often it still says that its jobs run."""

    def limits(self) -> Limits:
        return Limits()

    def submit(self, token: str, job_file: Path, request: Request) -> tuple[str, ...]:
        self.submissions += 1
        mood = self._moods.pop(0) if self._moods else "obliging"
        if mood == "refusing":
            raise RefusedError("sbatch: QOSMaxSubmitJobPerUserLimit")
        if mood == "broken":
            raise ExecutionError("sbatch: invalid partition")
        if mood != "deaf":
            self.known[token] = request.tasks
            self._carry_out(job_file)
        if mood in {"deaf", "mute"}:
            raise NoAnswerError("sbatch said nothing for 40 s")
        if mood == "interrupted":
            raise KeyboardInterrupt
        return self._handles(token, request.tasks)

    def find(self, token: str, tasks: int) -> tuple[str, ...] | None:
        return self._handles(token, tasks) if token in self.known else None

    def reports(self, handles: Mapping[TaskName, str]) -> dict[TaskName, JobReport]:
        self.alive -= 1
        report = JobReport(state=JobState.ALIVE) if self.alive >= 0 else _DONE
        return dict.fromkeys(handles, report)

    def stop(self, handles: Mapping[TaskName, str]) -> None:
        self.stopped += handles.values()

    def _handles(self, token: str, tasks: int) -> tuple[str, ...]:
        return tuple(f"{token}_{index}" for index in range(tasks))

    def _carry_out(self, job_file: Path) -> None:
        study = job_file.parent.parent.parent
        job = JobFile.read(job_file)
        for index, (entry,) in enumerate(job.tasks):
            order = Order.from_dict(read_json(study / "orders" / f"{entry.order:08d}.json"))
            assert isinstance(order.task, SegmentOrder)
            outcome = run_segment(order.task, FakePost(study=study, folder=study / "tasks" / "a"))
            facts = {"cause": outcome.cause, **outcome.facts}
            event = {"kind": EventKind.ENDED, "facts": facts}
            name = AttemptName(token=job.token, index=index, order=entry.order, restart=0)
            write_json(study / "inbox" / f"{name}.000000.json", event)


@dataclass
class _Clock:
    """Time that passes where somebody sleeps."""

    now_s: float = 0.0
    looked_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_AGAIN_S", 0.0)
    monkeypatch.setattr(sharing, "_POLL_S", 0.0)
    monkeypatch.setattr(sharing, "_LOOK_AGAIN_S", (0.0, 0.0, 0.0))


def _moody(task: SegmentOrder, *moods: str) -> Moody:
    return Moody(work_folder(Path(task.out)) / "jobs", *moods)


def _share(task: SegmentOrder, executor: Moody) -> list[str]:
    said: list[str] = []
    share(task, _crew(executor), lambda _done, _of: None, said.append)
    return said


def _crew(executor: Moody) -> Crew:
    return Crew(executor=executor, name="moody", devices=["cpu", "cpu"])


def test_a_cluster_that_takes_no_more_is_asked_again_and_the_reason_said_once(
    task: SegmentOrder,
) -> None:
    cluster = _moody(task, "refusing", "refusing", "refusing")
    said = _share(task, cluster)
    assert said == ["sbatch: QOSMaxSubmitJobPerUserLimit; trying again every 0 s"]
    assert cluster.submissions == 5  # the last one verifies and finishes
    assert begin(task).missing() == []


@pytest.mark.parametrize(("mood", "submissions"), [("mute", 2), ("deaf", 3)])
def test_after_silence_the_job_is_looked_for_before_it_is_submitted_again(
    mood: str, submissions: int, task: SegmentOrder
) -> None:
    cluster = _moody(task, mood)
    assert _share(task, cluster) == ["sbatch said nothing for 40 s; trying again every 0 s"]
    assert cluster.submissions == submissions
    assert begin(task).missing() == []


def test_a_refusal_for_good_ends_it(task: SegmentOrder) -> None:
    with pytest.raises(ExecutionError, match="invalid partition"):
        _share(task, _moody(task, "broken"))


def test_interrupted_while_it_submits_it_calls_the_job_off(task: SegmentOrder) -> None:
    cluster = _moody(task, "interrupted")
    with pytest.raises(KeyboardInterrupt):
        _share(task, cluster)
    (token,) = cluster.known
    assert cluster.stopped == [f"{token}_0", f"{token}_1"]


def test_interrupted_while_it_waits_it_calls_the_job_off(task: SegmentOrder) -> None:
    cluster = _moody(task)

    def interrupt(done: int, of: int) -> None:
        if done == of:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share(task, _crew(cluster), interrupt)
    assert len(cluster.stopped) == 2


def test_a_job_that_a_killed_launcher_left_is_waited_for(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = _moody(task)
    with monkeypatch.context() as patch:
        patch.setattr(sharing._Work, "_wait", lambda *_: 1 / 0)
        patch.setattr(sharing._Work, "_stop", lambda *_: None)  # it had no time for that
        with pytest.raises(ZeroDivisionError):
            _share(task, cluster)
    (token,) = cluster.known
    cluster.alive = 3
    assert _share(task, cluster) == [f"job {token} of an earlier run goes on; waiting for it"]
    assert cluster.alive < 0
    assert cluster.submissions == 2  # the other finishes
    assert not work_folder(Path(task.out)).exists()


def test_what_is_finished_is_verified_again_and_left_alone(task: SegmentOrder) -> None:
    cluster = _moody(task)
    for _ in range(2):
        assert _share(task, cluster) == []
    assert cluster.submissions == 3


def test_what_is_finished_and_damaged_since_is_made_again(task: SegmentOrder) -> None:
    _share(task, cluster := _moody(task))
    chunk = Path(task.out) / "0" / "c" / "0" / "1" / "0"
    before = chunk.read_bytes()
    chunk.write_bytes(b"scribble")
    said = _share(task, cluster)
    assert said == ["damaged blocks: 1; first block z, y, x (0, 128, 0) to (16, 150, 90)"]
    assert chunk.read_bytes() == before
    assert begin(task).is_finished()


def test_a_chunk_that_was_lost_since_is_made_again_and_verified(task: SegmentOrder) -> None:
    _share(task, cluster := _moody(task))
    (Path(task.out) / "0" / "c" / "0" / "1" / "0").unlink()
    assert begin(task).missing() == [1]
    _share(task, cluster)
    assert begin(task).missing() == []
    assert begin(task).is_finished()
    assert cluster.submissions == 4


@pytest.mark.parametrize("cause", [Cause.PREEMPTED, Cause.TIMEOUT])
def test_a_verification_that_has_to_leave_is_followed_by_another(
    cause: Cause, task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [cause, cause]
    verify = Output.verify

    def leave(output: Output, look_up: Callable[[], None]) -> list[int]:
        if left:
            raise AskedToLeaveError(left.pop())
        return verify(output, look_up)

    monkeypatch.setattr(Output, "verify", leave)
    said = _share(task, cluster := _moody(task))
    assert said == ["the job that verifies what is written did not come to its end"] * 2
    assert cluster.submissions == 4
    assert begin(task).is_finished()


def test_what_cannot_be_verified_is_not_finished(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(_output: Output, _look_up: object) -> None:
        raise AskedToLeaveError(Cause.PREEMPTED)

    monkeypatch.setattr(Output, "verify", leave)
    cluster = _moody(task)
    with pytest.raises(StateError, match="what is written is not verified: nothing was said"):
        _share(task, cluster)
    assert cluster.submissions == 6
    assert not begin(task).is_finished()


def test_who_makes_the_lower_resolutions_leaves_when_asked(
    task: SegmentOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((1, 300, 20), np.uint8))
    task = replace(task, volume=str(tmp_path / "wide.npy"))
    post = FakePost(study=tmp_path, folder=tmp_path / "attempt")
    run_segment(replace(task, blocks=(0, 1, 2)), post)

    def ask(_output: Output, _look_up: object) -> list[int]:
        post.stop_after = 0
        return []

    monkeypatch.setattr(Output, "verify", ask)
    assert run_segment(task, post).cause is Cause.PREEMPTED
    assert not begin(task).is_finished()


def test_what_workers_of_a_killed_run_say_late_is_not_of_this_job(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = work_folder(Path(task.out)) / "inbox"
    late = {"kind": EventKind.ENDED, "facts": {"cause": Cause.ERROR, "detail": "of another run"}}
    wait = sharing._Work._wait

    def hear(work: Any, running: Any) -> list[str]:
        write_json(inbox / "segment-0123.0.0.0.000000.json", late)
        return wait(work, running)

    monkeypatch.setattr(sharing._Work, "_wait", hear)
    left = [Cause.PREEMPTED]
    verify = Output.verify

    def leave(output: Output, look_up: Callable[[], None]) -> list[int]:
        if left:
            raise AskedToLeaveError(left.pop())
        return verify(output, look_up)

    monkeypatch.setattr(Output, "verify", leave)
    _share(task, _moody(task))
    assert begin(task).is_finished()


def test_blocks_that_a_file_server_hides_for_a_while_are_looked_for_again(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = _moody(task)
    has, pauses = Output.has, list[float]()

    def see(output: Output, block: Box) -> bool:
        return has(output, block) and (cluster.submissions != 1 or len(pauses) > 1)

    monkeypatch.setattr(Output, "has", see)
    monkeypatch.setattr("emsearch.inference.sharing.time.sleep", pauses.append)
    _share(task, cluster)
    assert len(pauses) == 2
    assert cluster.submissions == 2  # the other verifies


def test_looking_at_very_many_blocks_takes_a_small_part_of_the_time(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock()
    monkeypatch.setattr(sharing, "time", clock)
    monkeypatch.setattr(sharing, "_POLL_S", 1.0)
    has = Output.has

    def slowly(output: Output, block: Box) -> bool:
        clock.looked_s += 0.5
        clock.now_s += 0.5
        return has(output, block)

    work = sharing._Work(
        output=begin(task), crew=_crew(_moody(task)), tell=lambda *_: None, say=lambda _: None
    )
    monkeypatch.setattr(Output, "has", slowly)
    work.crew.executor.alive = 1000  # type: ignore[attr-defined]
    work._wait({TaskName(token="a"): "a_0"})
    assert 1000 < clock.now_s < 1100
    assert 0.03 * clock.now_s < clock.looked_s < 0.06 * clock.now_s


def test_a_job_that_is_over_is_not_waited_for(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = _moody(task)
    with monkeypatch.context() as patch:
        patch.setattr(sharing._Work, "_wait", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _share(task, cluster)
    assert _share(task, cluster) == []
