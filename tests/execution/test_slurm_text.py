"""What Slurm prints: the texts are those of a real cluster, Slurm 22.05."""

import pytest

from emsearch.execution.slurm_text import (
    Queued,
    ending_of,
    read_config_limit,
    read_least,
    read_queue,
    read_runs,
    seconds_of,
)
from emsearch.records.trial import Cause
from tests.support.scripted_slurm import squeue_row as row

QUEUE = "\n".join(
    [
        row("15_0", "PENDING", 0, "Resources"),
        row("16_1", "RUNNING", 0, "None", "cn2"),
        row("2_0", "COMPLETING", 2, "None", "cn1"),
        row("14", "PENDING", 0, "ReqNodeNotAvail, UnavailableNodes:cn4"),
        row("45_3", "CANCELLED", 0, "BeginTime"),
    ]
)


def test_the_queue_is_read_with_reasons_that_hold_blanks() -> None:
    queue = read_queue(QUEUE)
    assert queue["15_0"] == Queued(word="PENDING", restarts=0, reason="Resources", node="")
    assert queue["16_1"] == Queued(word="RUNNING", restarts=0, reason="", node="cn2")
    assert queue["2_0"].restarts == 2
    assert queue["14"].reason == "ReqNodeNotAvail, UnavailableNodes:cn4"
    assert read_queue("") == {}


def test_the_controller_remembers_for_a_while_how_a_task_ended() -> None:
    over = {handle for handle, one in read_queue(QUEUE).items() if one.is_over}
    assert over == {"45_3"}


ACCOUNTING = """\
1_0|COMPLETED|0:0|cn1
1_0.batch|COMPLETED|0:0|cn1
1_0.0|COMPLETED|0:0|cn1
2_0|PREEMPTED|0:0|cn2
2_0.batch|CANCELLED|0:15|cn2
2_0.0|PREEMPTED|0:0|cn2
2_0|NODE_FAIL|0:0|cn1
2_0.batch|CANCELLED||cn1
2_0.0|CANCELLED||cn1
2_0|RUNNING|0:0|cn3
6|TIMEOUT|0:0|cn2
6.batch|CANCELLED|0:15|cn2
6.0|CANCELLED|0:9|cn2
8|CANCELLED by 0|0:0|cn3
11|FAILED|9:0|cn4
11.batch|FAILED|9:0|cn4
11.0|CANCELLED by 0|0:9|cn4
12|FAILED|1:0|cn4
12.batch|FAILED|1:0|cn4
12.0|FAILED|1:0|cn4
16_0|REQUEUED|0:0|cn2
16_0.batch|CANCELLED|0:15|cn2
16_0.0|COMPLETED|0:0|cn2
17_[3-4,7%5]|PENDING|0:0|None assigned
42_[0,2,4-5]|CANCELLED by 0|0:0|None assigned
43|CANCELLED by 0|0:0|None assigned
"""


def test_accounting_is_read_with_every_run_of_a_task() -> None:
    runs = read_runs(ACCOUNTING)
    assert [run.state for run in runs["2_0"]] == ["PREEMPTED", "NODE_FAIL", "RUNNING"]
    assert [run.node for run in runs["2_0"]] == ["cn2", "cn1", "cn3"]
    assert [run.is_over for run in runs["2_0"]] == [True, True, False]
    assert runs["43"][0].state == "CANCELLED"


def test_tasks_that_share_a_line_are_told_apart() -> None:
    runs = read_runs(ACCOUNTING)
    assert {handle for handle in runs if handle.startswith("17")} == {"17_3", "17_4", "17_7"}
    assert {handle for handle in runs if handle.startswith("42")} == {
        "42_0",
        "42_2",
        "42_4",
        "42_5",
    }


OUT_OF_MEMORY = """\
slurmstepd-cn4: error: *** STEP 11.0 ON cn4 CANCELLED AT 2026-11-24T14:51:05 ***
slurmstepd-cn4: error: StepId=11.0 exceeded memory limit (268840960 > 209715200), being killed
slurmstepd-cn4: error: Exceeded job memory limit
"""
CGROUP = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.0 cgroup."


@pytest.mark.parametrize(
    ("handle", "log", "cause", "exit_code", "number"),
    [
        ("1_0", "", Cause.COMPLETED, 0, None),
        ("6", "", Cause.TIMEOUT, None, 9),
        ("8", "", Cause.CANCELLED, 0, None),
        ("11", "srun: error: cn4: task 0: Killed", Cause.LOST, None, 9),
        ("11", OUT_OF_MEMORY, Cause.HOST_OUT_OF_MEMORY, None, 9),
        ("11", CGROUP, Cause.HOST_OUT_OF_MEMORY, None, 9),
        ("12", "ValueError: 3", Cause.ERROR, 1, None),
        ("16_0", "", Cause.PREEMPTED, 0, None),
    ],
)
def test_causes_are_told_apart(
    handle: str, log: str, cause: Cause, exit_code: int | None, number: int | None
) -> None:
    ending = ending_of(read_runs(ACCOUNTING)[handle][-1], log)
    assert (ending.cause, ending.exit_code, ending.signal) == (cause, exit_code, number)
    assert ending.detail.startswith("Slurm says")
    assert log.strip() in ending.detail


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("PREEMPTED", Cause.PREEMPTED),
        ("NODE_FAIL", Cause.NODE_FAILURE),
        ("BOOT_FAIL", Cause.NODE_FAILURE),
        ("OUT_OF_MEMORY", Cause.HOST_OUT_OF_MEMORY),
        ("DEADLINE", Cause.TIMEOUT),
    ],
)
def test_every_state_that_is_an_end_has_its_cause(state: str, cause: Cause) -> None:
    (run,) = read_runs(f"7_0|{state}|0:0|cn1\n")["7_0"]
    assert run.is_over
    assert ending_of(run, "").cause == cause


@pytest.mark.parametrize("state", ["SUSPENDED", "COMPLETING", "REQUEUE_HOLD", "SPECIAL_EXIT"])
def test_states_that_submitit_takes_for_an_end_are_none(state: str) -> None:
    assert not read_queue(row("7_0", state, 0, "None"))["7_0"].is_over


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:15", 1815),
        ("8:00:00", 28800),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("2-01:02:03", 176523),
        ("UNLIMITED", None),
        ("", None),
    ],
)
def test_times_are_those_of_sbatch(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_limits_are_numbers_or_none() -> None:
    config = "MaxArraySize            = 1001\nMaxJobCount             = 10000\n"
    assert read_config_limit(config, "MaxArraySize") == 1001
    assert read_config_limit(config, "MaxTasksPerNode") is None
    assert read_least(["", "60", "200"]) == 60
    assert read_least(["", ""]) is None
