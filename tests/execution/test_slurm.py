"""The executor's own decisions: when it asks, what silence means, what is submitted."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from emsearch.errors import ExecutionError, NoAnswerError, RefusedError
from emsearch.execution.executor import JobReport, JobState, Request
from emsearch.execution.slurm import SlurmExecutor
from emsearch.execution.slurm_submit import clean_environment, options_of, setup_of, submit_array
from emsearch.records.job import TaskName, log_path
from emsearch.records.profile import Option, Profile, read_profile
from emsearch.records.trial import Cause
from tests.support.executors import lowest_descriptor
from tests.support.scripted_slurm import squeue_row as row

A, B = (TaskName(token="a", index=index) for index in (0, 1))
HANDLES = {A: "7_0", B: "7_1"}


class Cluster:
    """Answers of Slurm's commands, each a text or silence, and a clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.answers: dict[str, str | None] = {"squeue": "", "sacct": ""}
        self.asked: list[str] = []
        self.words: list[Sequence[str]] = []

    def run(self, words: Sequence[str]) -> str:
        self.asked.append(words[0])
        self.words.append(words)
        answer = self.answers[words[0]]
        if answer is None:
            raise NoAnswerError(f"{words[0]}: Unable to contact slurm controller")
        return answer

    def clock(self) -> float:
        return self.now_s


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def executor(cluster: Cluster, tmp_path: Path) -> SlurmExecutor:
    profile = Profile(poll_s=30, grace_s=600)
    return SlurmExecutor(tmp_path, profile, run=cluster.run, clock=cluster.clock)


def queue(*rows: tuple[str, str]) -> str:
    return "\n".join(row(handle, word, 0, "None", "cn1") for handle, word in rows)


def test_one_question_a_cycle_is_enough_for_all_tasks(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["squeue"] = queue(("7_0", "RUNNING"), ("7_1", "SUSPENDED"))
    for _ in range(50):
        reports = executor.reports(HANDLES)
        cluster.now_s += 1
    assert cluster.asked == ["squeue", "squeue"]
    assert reports[B] == JobReport(state=JobState.ALIVE, word="SUSPENDED", node="cn1")


def test_a_controller_that_is_away_is_asked_less_and_less_and_nothing_follows(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["squeue"] = None
    for _ in range(3600):
        assert {report.state for report in executor.reports(HANDLES).values()} == {JobState.UNKNOWN}
        cluster.now_s += 1
    assert 10 <= len(cluster.asked) <= 20  # instead of 120
    cluster.answers["squeue"] = queue(("7_0", "RUNNING"), ("7_1", "RUNNING"))
    cluster.now_s += 8 * 30
    assert executor.reports(HANDLES)[A].state == JobState.ALIVE


def test_accounting_that_is_away_loses_nobody(executor: SlurmExecutor, cluster: Cluster) -> None:
    cluster.answers["sacct"] = None
    for _ in range(3600):
        assert executor.reports(HANDLES)[A].state == JobState.UNKNOWN
        cluster.now_s += 1


def test_a_task_that_nobody_knows_is_lost_after_its_grace(
    executor: SlurmExecutor, cluster: Cluster, tmp_path: Path
) -> None:
    log = log_path(tmp_path, A)
    log.parent.mkdir()
    log.write_text("the last words\n")
    seen = []
    for _ in range(22):
        seen.append(executor.reports({A: "7_0"})[A])
        cluster.now_s += 30
    assert [report.state for report in seen[:20]] == [JobState.UNKNOWN] * 20
    ending = seen[-1].ending
    assert ending is not None
    assert ending.cause == Cause.LOST
    assert ending.detail.endswith("the last words")


def test_silence_in_between_begins_the_grace_anew(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    for minute in range(30):
        cluster.answers["squeue"] = None if minute % 8 == 7 else ""
        assert executor.reports({A: "7_0"})[A].state == JobState.UNKNOWN
        cluster.now_s += 60


def test_a_task_that_accounting_never_heard_of_is_believed_to_the_controller(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["squeue"] = queue(("7_0", "CANCELLED"))
    assert executor.reports({A: "7_0"})[A].state == JobState.UNKNOWN
    cluster.now_s += 60
    ending = executor.reports({A: "7_0"})[A].ending
    assert ending is not None
    assert ending.cause == Cause.CANCELLED


def test_runs_of_a_restarted_task_end_each_with_its_cause(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["squeue"] = row("7_0", "RUNNING", 3, "None", "cn3")
    cluster.answers["sacct"] = "7_0|NODE_FAIL|0:0|cn1\n7_0|PREEMPTED|0:0|cn2\n"
    report = executor.reports({A: "7_0"})[A]
    assert (report.state, report.node) == (JobState.ALIVE, "cn3")
    known = [Cause.NODE_FAILURE, Cause.PREEMPTED]
    assert [ending.cause for ending in report.restarted] == known
    for _ in range(21):  # accounting has not heard of the third one yet
        cluster.now_s += 30
        report = executor.reports({A: "7_0"})[A]
    assert [ending.cause for ending in report.restarted] == [*known, Cause.LOST]


def test_an_earlier_run_that_accounting_still_takes_for_running_has_not_ended_in_an_error(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["squeue"] = row("7_0", "RUNNING", 1, "None", "cn2")
    for late in ("7_0|RUNNING|0:0|cn1\n", "7_0|RUNNING|0:0|cn2\n", "7_0|COMPLETING|0:0|cn1\n"):
        cluster.answers["sacct"] = late
        cluster.now_s += 30
        assert executor.reports({A: "7_0"})[A].restarted == ()
    cluster.answers["sacct"] = "7_0|PREEMPTED|0:0|cn1\n7_0|RUNNING|0:0|cn2\n"
    cluster.now_s += 30
    (ending,) = executor.reports({A: "7_0"})[A].restarted
    assert (ending.cause, ending.node) == (Cause.PREEMPTED, "cn1")


def test_accounting_is_asked_by_number_and_name(executor: SlurmExecutor, cluster: Cluster) -> None:
    executor.reports(HANDLES)  # numbers may have been another job's, before a controller lost all
    assert {"--jobs=7", "--name=a"} <= set(cluster.words[-1])


def test_the_end_of_a_restarted_task_tells_its_earlier_runs_too(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["sacct"] = "7_0|NODE_FAIL|0:0|cn1\n7_0|COMPLETED|0:0|cn2\n"
    report = executor.reports({A: "7_0"})[A]
    assert report.state == JobState.GONE
    assert report.ending is not None
    assert report.ending.cause == Cause.COMPLETED
    assert [ending.node for ending in report.restarted] == ["cn1"]


@pytest.mark.parametrize(
    ("accounting", "cause", "earlier"),
    [
        ("7_0|PREEMPTED|0:0|cn1\n", Cause.LOST, [Cause.PREEMPTED, Cause.LOST]),
        ("7_0|COMPLETED|0:0|cn3\n", Cause.COMPLETED, [Cause.LOST, Cause.LOST]),
        (
            "7_0|NODE_FAIL|0:0|cn1\n7_0|FAILED|1:0|cn3\n",
            Cause.ERROR,
            [Cause.NODE_FAILURE, Cause.LOST],
        ),
        (
            "7_0|PREEMPTED|0:0|cn1\n7_0|PREEMPTED|0:0|cn2\n7_0|RUNNING|0:0|cn3\n",
            Cause.LOST,
            [Cause.PREEMPTED, Cause.PREEMPTED],
        ),
        ("", Cause.LOST, [Cause.LOST, Cause.LOST]),
    ],
)
def test_a_restarted_task_of_whose_runs_accounting_lost_some_ends_after_its_grace(
    accounting: str,
    cause: Cause,
    earlier: list[Cause],
    executor: SlurmExecutor,
    cluster: Cluster,
) -> None:
    cluster.answers |= {"squeue": row("7_0", "RUNNING", 2, "None", "cn3"), "sacct": accounting}
    assert executor.reports({A: "7_0"})[A].state == JobState.ALIVE
    cluster.answers["squeue"] = ""
    for _ in range(20):
        cluster.now_s += 30
        assert executor.reports({A: "7_0"})[A].state == JobState.UNKNOWN
    cluster.now_s += 30
    report = executor.reports({A: "7_0"})[A]
    assert report.state == JobState.GONE
    assert report.ending is not None
    assert report.ending.cause == cause
    assert [ending.cause for ending in report.restarted] == earlier


def test_a_restart_that_accounting_hears_of_late_ends_with_its_own_cause(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["squeue"] = row("7_0", "RUNNING", 1, "None", "cn2")
    cluster.answers["sacct"] = "7_0|PREEMPTED|0:0|cn1\n"
    executor.reports({A: "7_0"})
    cluster.answers["squeue"] = ""
    cluster.now_s += 30
    assert executor.reports({A: "7_0"})[A].state == JobState.UNKNOWN
    cluster.answers["sacct"] = "7_0|PREEMPTED|0:0|cn1\n7_0|TIMEOUT|0:0|cn2\n"
    cluster.now_s += 30
    report = executor.reports({A: "7_0"})[A]
    assert report.ending is not None
    assert (report.ending.cause, len(report.restarted)) == (Cause.TIMEOUT, 1)


def test_a_task_that_is_gone_is_not_asked_about_again(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["sacct"] = "7_0|COMPLETED|0:0|cn1\n"
    executor.reports({A: "7_0"})
    cluster.asked.clear()
    cluster.now_s += 3600
    assert executor.reports({A: "7_0"})[A].state == JobState.GONE
    assert cluster.asked == []


def test_what_tasks_are_started_from_goes_with_the_last_of_them_and_the_logs_stay(
    executor: SlurmExecutor, cluster: Cluster, tmp_path: Path
) -> None:
    pickle, log = tmp_path / "a" / "submitit" / "task.pkl", log_path(tmp_path, A)
    pickle.parent.mkdir(parents=True)
    pickle.touch()
    log.touch()
    cluster.answers["squeue"] = queue(("7_1", "PENDING"))
    cluster.answers["sacct"] = "7_0|COMPLETED|0:0|cn1\n"
    assert executor.reports(HANDLES)[A].state == JobState.GONE
    assert pickle.exists()
    cluster.answers |= {"squeue": "", "sacct": "7_0|COMPLETED|0:0|cn1\n7_1|FAILED|1:0|cn2\n"}
    cluster.now_s += 30
    assert executor.reports({B: "7_1"})[B].state == JobState.GONE  # the other is buried by now
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [log.name]


def test_an_array_that_was_cancelled_as_a_whole_is_one_line(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["sacct"] = "7|CANCELLED by 0|0:0|None assigned\n"
    assert executor.reports(HANDLES)[B].state == JobState.GONE


def test_a_site_without_accounting_is_believed_its_queue(tmp_path: Path) -> None:
    def run(words: Sequence[str]) -> str:
        if words[0] == "sacct":
            raise NoAnswerError("sacct: Slurm accounting storage is disabled")
        return "" if words[0] == "squeue" else "MaxArraySize = 1001\n"

    executor = SlurmExecutor(tmp_path, Profile(), run=run)
    assert executor.find("a", 2) is None
    assert executor.reports(HANDLES)[A].state == JobState.UNKNOWN


def test_a_job_is_looked_for_in_the_queue_and_then_in_accounting(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    cluster.answers["squeue"] = "7\n7\n"
    assert executor.find("a", 2) == ("7_0", "7_1")
    cluster.answers["squeue"] = ""
    cluster.answers["sacct"] = "9_0\n9_1\n"
    assert executor.find("a", 2) == ("9_0", "9_1")
    cluster.answers["sacct"] = None
    with pytest.raises(NoAnswerError):
        executor.find("a", 2)


def test_stopping_many_tasks_takes_few_commands_and_tries_all_where_one_fails(
    executor: SlurmExecutor, cluster: Cluster
) -> None:
    many = {TaskName(token="a", index=index): f"7_{index}" for index in range(1200)}
    cluster.answers["scancel"] = None  # the controller is away
    with pytest.raises(NoAnswerError, match="Unable to contact"):
        executor.stop(many)
    assert cluster.asked == ["scancel"] * 3
    assert sum(len(words) - 1 for words in cluster.words) == 1200
    cluster.answers["scancel"] = ""
    executor.stop(many)


def test_options_are_the_profiles_with_what_the_request_asks_for(tmp_path: Path) -> None:
    profile = read_profile("biowulf", {"exclude": "cn0"})
    request = Request(tasks=3, needs_gpu=False, memory_factor=2.0, exclude=("cn1", "cn2"))
    options = options_of("a", tmp_path / "job.json", profile, request)
    assert options["array"] == "0-2"
    assert options["partition"] == "norm"
    assert options["mem"] == "96G"
    assert options["exclude"] == "cn0,cn1,cn2"
    assert options["job-name"] == "a"
    assert options_of("a", tmp_path / "job.json", profile, Request())["partition"] == "gpu"


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"mem": "48G"}, {"mem": "96G"}),
        ({"mem-per-cpu": "1.5G"}, {"mem-per-cpu": "3G"}),
        ({"mem-per-gpu": 4000}, {"mem-per-gpu": "8000"}),
        ({"partition": "gpu"}, {"partition": "gpu"}),
    ],
)
def test_more_memory_is_asked_for_however_a_profile_asks_for_it(
    given: dict[str, Option], asked: dict[str, Option], tmp_path: Path
) -> None:
    options = options_of(
        "a", tmp_path / "job.json", Profile(sbatch=given), Request(memory_factor=2)
    )
    assert {name: options[name] for name in given} == asked


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({}, "requeue"),
        ({"requeue": True}, "requeue"),
        ({"requeue": False}, "no-requeue"),
        ({"no-requeue": True}, "no-requeue"),
        ({"no-requeue": False}, "requeue"),
    ],
)
def test_tasks_are_put_back_unless_a_profile_says_otherwise(
    given: dict[str, Option], option: str, tmp_path: Path
) -> None:
    options = options_of("a", tmp_path / "job.json", Profile(sbatch=given), Request())
    assert {name for name in options if name.endswith("requeue")} == {option}


def fake_sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (folder / "bin").mkdir()
    path = folder / "bin" / "sbatch"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def test_an_array_is_submitted_with_a_pickle_that_is_there_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file = tmp_path / "jobs" / "a" / "job.json"
    job_file.parent.mkdir(parents=True)
    fake_sbatch(
        tmp_path,
        monkeypatch,
        f'test -f {job_file.parent}/submitit/task.pkl && echo "Submitted batch job 7"',
    )
    assert submit_array("a", job_file, Profile(), Request(tasks=2)) == "7"
    script = (job_file.parent / "submitit" / "7_submission.sh").read_text()
    assert "#SBATCH --array=0-1" in script
    assert "#SBATCH --signal=USR2@120" in script
    assert "--time" not in script  # the site's default, unless the profile has another


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("exit 124", NoAnswerError, "nothing for 40 s"),
        ("echo nonsense", NoAnswerError, "nonsense"),
        ("echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1", RefusedError, "QOSMax"),
        ("echo 'sbatch: error: invalid account' >&2; exit 1", ExecutionError, "invalid account"),
        ("echo 'sbatch: error: the moon is full' >&2; exit 1", RefusedError, "the moon is full"),
        ("kill -KILL $$", NoAnswerError, "was killed"),
        ("exit 137", NoAnswerError, "was killed, exit code 137"),
    ],
)
def test_an_sbatch_that_fails_says_what_follows(
    script: str,
    kind: type[ExecutionError],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job_file = tmp_path / "jobs" / "a" / "job.json"
    job_file.parent.mkdir(parents=True)
    fake_sbatch(tmp_path, monkeypatch, script)
    with pytest.raises(kind, match=words) as caught:
        submit_array("a", job_file, Profile(), Request())
    assert type(caught.value) is kind
    assert capsys.readouterr() == ("", "")


def test_a_host_that_can_start_no_sbatch_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file = tmp_path / "jobs" / "a" / "job.json"
    job_file.parent.mkdir(parents=True)
    fake_sbatch(tmp_path, monkeypatch, "echo Submitted batch job 7")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough_for_a_file = lowest_descriptor() + 1  # and not for sbatch's pipes
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough_for_a_file, limits[1]))
    try:
        with pytest.raises(RefusedError, match="cannot start sbatch now: Too many open files"):
            submit_array("a", job_file, Profile(), Request())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_coordinator_that_is_a_job_hides_that_from_its_own_jobs() -> None:
    names = ["HOME", "SLURM_CONF", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "SLURM_MEM_PER_NODE"]
    assert clean_environment(names) == [
        "env",
        "--unset=SLURMD_NODENAME",
        "--unset=SLURM_MEM_PER_NODE",
        "--unset=SLURM_RESTART_COUNT",
    ]
    assert clean_environment(["HOME"]) == ["env"]


def test_an_option_that_is_false_is_left_out(tmp_path: Path) -> None:
    profile = read_profile("generic", {"gres": False})
    assert "gres" not in options_of("a", tmp_path / "job.json", profile, Request())


def test_a_job_learns_its_time_and_scratch_from_its_script(tmp_path: Path) -> None:
    profile = read_profile("biowulf")
    lines = setup_of(tmp_path, profile, {"time": "4:00:00"})
    assert "export EMSEARCH_TIME_S=14400 EMSEARCH_WARN_S=180" in lines
    assert any('TMPDIR="/lscratch/$SLURM_JOB_ID"' in line for line in lines)
