"""What follows from what Slurm's commands complain of. Tests hold the words of its own tables."""

import re

from emsearch.errors import ExecutionError, NoAnswerError, RefusedError

__all__ = ["explain_refusal", "is_too_late"]

_UNSURE = re.compile(
    r"""
    timed\ out | Zero\ Bytes\ were\ transmitted | Connection\ reset | Unexpected\ message
    | (send|receive|shutdown)\ failure  # a connect failure is none: nothing was sent
    | Header\ lengths\ are\ longer | Unspecified\ error
    | killed\ for\ an\ unknown\ reason  # submitit's words where it could not hear sbatch out
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""The job may have been taken."""

# Names what is wrong, since "Invalid" alone is also said of what mends by itself: of credentials
# while munge is away, of users while their directory is, and of an array that is too large now.
_FOR_GOOD = re.compile(
    r"""
    (unrecognized|unknown|invalid|ambiguous)\ option
    | option\ .*(requires\ an\ argument|allow\ an\ argument|is\ ambiguous)
    | invalid\ (
        --\S+ | partition | account | qos | wckey | licen[sc]e | feature | constraint | generic
        | gres | trackable | tres | preferred | extra | node\ (name|count) | time | memory | cpu
        | count | numeric | directive | burst | mcs | mail | reservation
      )
    | specification\ invalid | invalid\ (argument|specification) | can\ ?not\ be\ satisfied
    | requested\ (node|topology)\ configuration\ is\ not\ available
    | requested\ nodes\ not\ in\ this\ partition
    | requested\ (time\ limit|reservation)\ is\ invalid
    | requested\ (operation\ not|gres\ option\ un)\ ?supported
    | no\ partition\ specified | not\ permitted\ to\ use\ this\ partition
    | (access|permission)[^\n]*\ denied
    | more\ processors\ requested\ than\ permitted | memory\ required\ by\ task
    | more\ threads\ per\ core | duplicate\ generic\ resource | burst\ buffer\ request\ invalid
    | (QOS|Assoc)(Max\w*Per(Job|Node)|Min)\w* | Partition(Time|Node)Limit  # no job of this size
    | unable\ to\ open\ file | look\ like\ a\ batch\ script | batch\ script\ (is\ empty|contains)
    | job\ script\ not\ specified | parameter\ too\ long
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""An option or the script is wrong: the same job is never taken."""

_LIMIT = re.compile(r"\b(QOS|Assoc)[A-Z]\w*")
"""The name of a limit, which says more than the sentence around it."""


def explain_refusal(text: str) -> ExecutionError:
    """Return the error that says what follows from what `sbatch` printed when it failed.

    For good is only what is known to be. Whatever else a site's Slurm says, waiting for it costs
    no trial, and users see the words.
    """
    words = " ".join(line.removeprefix("sbatch: error: ") for line in text.split("\n") if line)
    if _UNSURE.search(words):
        return NoAnswerError(words)
    if _FOR_GOOD.search(words):
        return ExecutionError(f"sbatch refused the job: {words}")
    limit = _LIMIT.search(words)
    return RefusedError(limit.group() if limit else words or "sbatch took no job and said nothing")


_TOO_LATE = re.compile(
    r"Invalid job id specified|already completing or completed|already finished|"
    r"not pending nor running|"
    r"Access/permission denied",  # the number is another user's by now
    re.IGNORECASE,
)


def is_too_late(text: str) -> bool:
    """Return whether all that `scancel` complains of is that tasks are over."""
    lines = [line for line in text.splitlines() if line.strip()]
    return all(_TOO_LATE.search(line) for line in lines)
