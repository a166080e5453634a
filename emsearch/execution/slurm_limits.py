"""What a cluster allows its user: of all its limits, those that apply to a profile's jobs.

A job is counted against its association (cluster, account, user, partition), against its QOS, and
against the QOS of its partition.
"""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from emsearch.errors import NoAnswerError
from emsearch.execution.executor import Limits
from emsearch.execution.slurm_command import Command, ask_accounting, pause_s, user_name
from emsearch.execution.slurm_text import read_config_limit, read_least
from emsearch.records.profile import Profile

__all__ = [
    "Association",
    "Partition",
    "SlurmLimits",
    "applying",
    "partitions_of",
    "qos_of",
    "read_associations",
    "read_cluster",
    "read_partitions",
]

_EVERY_S = 3600.0
_ASSOCIATION = "format=Cluster,Account,Partition,MaxSubmitJobs,DefaultQOS,QOS"


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """A partition, as far as it limits how many jobs there may be."""

    qos: str
    """Against which its jobs are counted beside their own; empty where there is none."""
    is_default: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Association:
    """What accounting allows a user in an account; empty texts mean that it does not say."""

    account: str
    partition: str
    """Where it holds; empty where it holds in all that have none of their own."""
    max_submitted: str
    default_qos: str
    allowed_qos: tuple[str, ...]


class SlurmLimits:
    """Limits as last known: asked once an hour, and less and less often while nobody answers."""

    def __init__(self, profile: Profile, run: Command, clock: Callable[[], float]) -> None:
        self._profile = profile
        self._run = run
        self._clock = clock
        self._known: Limits | None = None
        self._silence = ""
        """What was said instead of an answer."""
        self._failures = 0
        self._next_s = float("-inf")

    def get(self) -> Limits:
        """Return the limits. Raises NoAnswerError where none were ever known."""
        if self._clock() >= self._next_s:
            self._ask()
        if self._known is None:
            raise NoAnswerError(self._silence)
        return self._known

    def _ask(self) -> None:
        try:
            self._known = self._read()
        except NoAnswerError as error:
            self._silence = str(error)
            self._failures += 1
            wait_s = pause_s(self._profile.poll_s, self._failures)
        else:
            self._failures, wait_s = 0, _EVERY_S
        self._next_s = self._clock() + wait_s

    def _read(self) -> Limits:
        # Trainings are most of the jobs; where fewer may be on CPUs, those are refused and wait.
        sbatch = self._profile.sbatch
        config = self._run(["scontrol", "show", "config"])
        partitions = read_partitions(self._run(["scontrol", "show", "partition", "--oneliner"]))
        names = partitions_of(str(sbatch.get("partition") or ""), partitions)
        own = self._associations(read_cluster(config), names)
        of_partitions = [partitions[name].qos for name in names]
        counted = qos_of(str(sbatch.get("qos") or ""), own, of_partitions)
        most = [one.max_submitted for one in own] + self._most_by_qos(counted)
        return Limits(
            max_array=read_config_limit(config, "MaxArraySize"),
            max_submitted=read_least([*most, str(self._profile.max_submitted or "")]),
        )

    def _associations(self, cluster: str, partitions: Sequence[str]) -> list[Association]:
        user = f"user={user_name()}"
        known = read_associations(self._accounts("assoc", user, _ASSOCIATION), cluster)
        account = str(self._profile.sbatch.get("account") or "")
        if not account:
            account = self._accounts("user", user, "format=DefaultAccount").partition("\n")[0]
        return applying(known, account, partitions)

    def _most_by_qos(self, names: Container[str]) -> list[str]:
        rows = self._accounts("qos", "format=Name,MaxSubmitJobsPerUser").splitlines()
        return [limit for name, _, limit in (row.partition("|") for row in rows) if name in names]

    def _accounts(self, *what: str) -> str:
        return ask_accounting(self._run, ["sacctmgr", "--noheader", "--parsable2", "show", *what])


def read_cluster(config: str) -> str:
    """Return the cluster's name by `scontrol show config`; empty where it tells none."""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", config, re.MULTILINE)
    return found.group(1) if found else ""


def read_partitions(text: str) -> dict[str, Partition]:
    """Map names to partitions, from `scontrol show partition --oneliner`."""
    rows = (dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines())
    return {
        row["PartitionName"]: Partition(
            qos=row.get("QoS", "").replace("N/A", ""), is_default=row.get("Default") == "YES"
        )
        for row in rows
        if "PartitionName" in row
    }


def partitions_of(wanted: str, known: Mapping[str, Partition]) -> list[str]:
    """Return the partitions that a job may run in: those that it asks for, or the default one."""
    if wanted:
        return [name for name in wanted.split(",") if name in known]
    return [name for name, partition in known.items() if partition.is_default]


def read_associations(text: str, cluster: str) -> list[Association]:
    """Return a user's associations on a cluster, from `sacctmgr show assoc`; "" is any cluster."""
    rows = (line.split("|") for line in text.splitlines() if line)
    return [
        Association(
            account=account,
            partition=partition,
            max_submitted=limit,
            default_qos=default,
            allowed_qos=tuple(allowed.split(",")),
        )
        for where, account, partition, limit, default, allowed in rows
        if cluster in {"", where}
    ]


def applying(
    known: Sequence[Association], account: str, partitions: Iterable[str]
) -> list[Association]:
    """Return the associations that a job's limits may be those of; all where that is not clear."""
    own = [one for one in known if one.account == account] or list(known)
    names = set(partitions)
    here = [one for one in own if one.partition in names]
    return here or [one for one in own if not one.partition] or own


def qos_of(asked: str, own: Iterable[Association], of_partitions: Iterable[str]) -> set[str]:
    """Return the QOS that a job is counted against.

    Beside those of its partitions it is the one that it asks for, or the default of its
    association: without that, it may be any that the association allows.
    """
    jobs = {asked} if asked else set()
    if not asked:
        for one in own:
            jobs |= {one.default_qos} if one.default_qos else set(one.allowed_qos)
    return (jobs | set(of_partitions)) - {""}
