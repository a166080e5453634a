"""What follows from what Slurm's commands complain of: the words are Slurm's own."""

import pytest

from emsearch.errors import ExecutionError, NoAnswerError, RefusedError
from emsearch.execution.slurm_refusal import explain_refusal, is_too_late

SUBMIT_LIMIT = """\
sbatch: error: QOSMaxSubmitJobPerUserLimit
sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, \
user's size and/or time limits)
"""
NO_CONTROLLER = (
    "sbatch: error: Batch job submission failed: "
    "Unable to contact slurm controller (connect failure)"
)
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
NO_PARTITION = """\
sbatch: error: invalid partition specified: nowhere
sbatch: error: Batch job submission failed: Invalid partition name specified
"""
TOO_LARGE = """\
sbatch: error: Memory specification can not be satisfied
sbatch: error: Batch job submission failed: Requested node configuration is not available
"""


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (SUBMIT_LIMIT, RefusedError, "QOSMaxSubmitJobPerUserLimit"),
        (NO_CONTROLLER, RefusedError, "Unable to contact slurm controller"),
        (TIMED_OUT, NoAnswerError, "Socket timed out"),
        (NO_PARTITION, ExecutionError, "invalid partition specified: nowhere"),
        (TOO_LARGE, ExecutionError, "Memory specification can not be satisfied"),
        ("sbatch: unrecognized option '--frobnicate=3'", ExecutionError, "frobnicate"),
        ("sbatch: error: Invalid --time specification", ExecutionError, "--time"),
        ("", RefusedError, "said nothing"),
        ("Job got killed for an unknown reason.", NoAnswerError, "unknown reason"),
    ],
)
def test_refusals_tell_whether_to_wait_to_look_or_to_give_up(
    text: str, kind: type[ExecutionError], words: str
) -> None:
    error = explain_refusal(text)
    assert type(error) is kind
    assert words in str(error)


GONE = "scancel: error: Kill job error on job id 7_0: Invalid job id specified"
OVER = "scancel: error: Kill job error on job id 7_1: Job/step already completing or completed"
AWAY = "scancel: error: Kill job error on job id 7_2: Unable to contact slurm controller"


@pytest.mark.parametrize(
    ("text", "too_late"),
    [(GONE, True), (f"{GONE}\n{OVER}\n", True), (f"{GONE}\n{AWAY}", False), ("scancel:", False)],
)
def test_a_task_that_is_over_is_told_from_a_controller_that_is_away(
    text: str, *, too_late: bool
) -> None:
    assert is_too_late(text) == too_late


@pytest.mark.parametrize("how", ["send", "receive", "shutdown"])
def test_what_broke_off_may_have_been_taken(how: str) -> None:
    assert type(explain_refusal(NO_CONTROLLER.replace("connect", how))) is NoAnswerError


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    "words",
    [
        "Invalid account or account/partition combination specified",
        "Invalid qos specification",
        "Invalid generic resource (gres) specification",
        "Invalid feature specification",
        "Invalid license specification",
        "Invalid Trackable RESource (TRES) specification",
        "Invalid GRES specification (with and without type identification)",
        "Invalid node name specified",
        "Requested time limit is invalid (missing or exceeds some limit)",
        "Requested nodes not in this partition",
        "Requested GRES option unsupported by configured SelectType plugin",
        "Requested operation not supported on this system",
        "User's group not permitted to use this partition",
        "Access/permission denied",
        "Access denied to requested reservation",
        "Node count specification invalid",
        "CPU count specification invalid",
        "More processors requested than permitted",
        "Memory required by task is not available",
        "Invalid time specified",
        "No partition specified or system default partition",
        "QOSMaxWallDurationPerJobLimit",
        "AssocMaxCpuPerJobLimit",
        "QOSMinGRES",
    ],
)
def test_wrong_options_are_refused_for_good(words: str) -> None:
    error = explain_refusal(FAILED + words)
    assert type(error) is ExecutionError
    assert words in str(error)


@pytest.mark.parametrize(
    "words",
    [
        "Invalid user id",  # while the directory of users is away
        "Invalid authentication credential",  # while munge is
        "Protocol authentication error",
        "Invalid job array specification",  # fewer tasks may fit
        "Rate limit exceeded, please retry momentarily",
        "MaxJobCount limit reached",
        "I/O error writing script/environment to file",
        "Job/step already completing or completed",
        "Requested partition configuration not available now",
        "Required partition not available (inactive or drain)",
        "Required node not available (down, drained or reserved)",
        "Partition in DOWN state",
        "System submissions disabled",
        "Slurm backup controller in standby mode",
        "Licenses currently unavailable",
        "AssocGrpSubmitJobsLimit",
        "QOSMaxJobsPerUserLimit",
        "a word of a site's own plugin that nobody foresaw",
    ],
)
def test_whatever_else_is_said_is_waited_for_and_shown(words: str) -> None:
    error = explain_refusal(FAILED + words)
    assert type(error) is RefusedError
    assert words in str(error)


def test_a_limit_is_told_by_its_name_alone() -> None:
    assert str(explain_refusal(SUBMIT_LIMIT)) == "QOSMaxSubmitJobPerUserLimit"
