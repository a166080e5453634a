"""Which of a cluster's limits apply, and what silence means for them."""

from collections.abc import Sequence

import pytest

from emsearch.errors import NoAnswerError
from emsearch.execution.executor import Limits
from emsearch.execution.slurm_limits import (
    SlurmLimits,
    applying,
    partitions_of,
    qos_of,
    read_associations,
    read_cluster,
    read_partitions,
)
from emsearch.records.profile import Option, Profile

CONFIG = """\
ClusterName             = biowulf
MaxArraySize            = 50
MaxJobCount             = 10000
"""
PARTITIONS = """\
PartitionName=norm AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES \
QoS=N/A DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO State=UP
PartitionName=gpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=NO \
QoS=gpu_users DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO State=UP
PartitionName=quick Default=NO QoS=quick State=UP
"""
ASSOCIATIONS = """\
biowulf|lab|||normal|high,normal
biowulf|lab|quick|40||high,normal
biowulf|other||7|other|other
helix|lab||3|normal|normal
"""
QOS = "normal|300\nhigh|60\nother|5\ngpu_users|200\nquick|\nnobodys|1\n"


class Cluster:
    """What its commands say, and how often they are asked."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.is_silent = False
        self.asked = 0
        self.has_accounts = True

    def run(self, words: Sequence[str]) -> str:
        self.asked += 1
        if self.is_silent:
            raise NoAnswerError(f"{words[0]}: Unable to contact slurm controller")
        if words[0] == "scontrol":
            return CONFIG if "config" in words else PARTITIONS
        if not self.has_accounts:
            raise NoAnswerError(
                "sacctmgr: You are not running a supported accounting_storage plugin\n"
                "Only 'accounting_storage/slurmdbd' is supported."
            )
        (what,) = {"assoc", "user", "qos"} & set(words)
        return {"assoc": ASSOCIATIONS, "user": "lab\n", "qos": QOS}[what]

    def limits(self, **sbatch: Option) -> SlurmLimits:
        return SlurmLimits(Profile(poll_s=30, sbatch=sbatch), self.run, lambda: self.now_s)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize(
    ("sbatch", "most"),
    [
        ({}, 300),  # the default partition has no QOS of its own: the association's default
        ({"partition": "gpu"}, 200),  # its own QOS allows less
        ({"partition": "gpu", "qos": "high"}, 60),
        ({"partition": "quick"}, 40),  # an association of its own, whose QOS is not told
        ({"partition": "quick,gpu", "qos": "normal"}, 40),
        ({"account": "other"}, 5),
        ({"account": "other", "qos": "normal"}, 7),
        ({"account": "unheard"}, 5),  # which applies cannot be told: the least of all
    ],
)
def test_limits_are_the_least_of_those_that_apply(
    sbatch: dict[str, Option], most: int, cluster: Cluster
) -> None:
    assert cluster.limits(**sbatch).get() == Limits(max_array=50, max_submitted=most)


def test_a_profiles_own_limit_is_one_of_them(cluster: Cluster) -> None:
    limits = SlurmLimits(Profile(max_submitted=9), cluster.run, lambda: 0.0)
    assert limits.get().max_submitted == 9


def test_a_site_without_accounting_limits_arrays_alone(cluster: Cluster) -> None:
    cluster.has_accounts = False
    assert cluster.limits().get() == Limits(max_array=50)


def test_limits_are_asked_once_an_hour(cluster: Cluster) -> None:
    limits = cluster.limits()
    limits.get()
    asked = cluster.asked
    cluster.now_s += 3599
    limits.get()
    assert cluster.asked == asked
    cluster.now_s += 1
    limits.get()
    assert cluster.asked == 2 * asked


def test_what_was_known_holds_while_the_cluster_is_silent(cluster: Cluster) -> None:
    limits = cluster.limits()
    known = limits.get()
    cluster.is_silent = True
    cluster.asked = 0
    for _ in range(3600):
        cluster.now_s += 1
        assert limits.get() == known
    cluster.now_s += 3600
    assert limits.get() == known
    assert cluster.asked <= 2


def test_a_cluster_that_never_told_is_asked_less_and_less(cluster: Cluster) -> None:
    limits = cluster.limits()
    cluster.is_silent = True
    for _ in range(3600):
        with pytest.raises(NoAnswerError, match="Unable to contact slurm controller"):
            limits.get()
        cluster.now_s += 1
    assert 10 <= cluster.asked <= 20  # instead of 3,600
    cluster.is_silent = False
    cluster.now_s += 8 * 30
    assert limits.get().max_array == 50


def test_partitions_are_read_with_their_qos() -> None:
    known = read_partitions(PARTITIONS)
    assert [one.qos for one in known.values()] == ["", "gpu_users", "quick"]
    assert partitions_of("", known) == ["norm"]
    assert partitions_of("quick,gone", known) == ["quick"]
    assert read_partitions("No partitions in the system\n") == {}


def test_associations_of_other_clusters_are_left_out() -> None:
    assert read_cluster(CONFIG) == "biowulf"
    assert [one.max_submitted for one in read_associations(ASSOCIATIONS, "helix")] == ["3"]
    assert len(read_associations(ASSOCIATIONS, "")) == 4


def test_an_association_of_the_partition_goes_before_one_of_the_account() -> None:
    known = read_associations(ASSOCIATIONS, "biowulf")
    assert [one.partition for one in applying(known, "lab", ["quick"])] == ["quick"]
    assert [one.partition for one in applying(known, "lab", ["gpu"])] == [""]
    assert applying(known, "unheard", []) == [known[0], known[2]]


def test_a_qos_that_is_asked_for_stands_for_the_associations() -> None:
    own = read_associations(ASSOCIATIONS, "biowulf")[:2]
    assert qos_of("low", own, ["gpu_users", ""]) == {"low", "gpu_users"}
    assert qos_of("", own, []) == {"normal", "high"}
    assert qos_of("", [], []) == set()
