"""What the devcluster is made of: packages, folders, keys, configuration files."""

import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

from devcluster_processes import NODES, PLACE, CannotInstallError, run, search_path

__all__ = [
    "CONFIG",
    "install",
    "is_ours",
    "lay_out",
    "mariadbd",
    "munged",
    "refuse_another_slurm",
    "remove",
    "write_configs",
]

CONFIG = Path("/etc/slurm")
"""Where Slurm's commands look for it."""
_GPUS = 2  # of each node; plain files stand for them
_PACKAGES = ("slurm-wlm", "munge", "slurmdbd", "mariadb-server")
_DATABASE_PORT = 33061
_MARK = "# written by emsearch's slurm/devcluster"


def install() -> None:
    """Install the packages where they are missing. Raises CannotInstallError."""
    programs = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sacctmgr")
    missing = [name for name in programs if not shutil.which(name, path=search_path())]
    if os.getuid() != 0:
        raise CannotInstallError("a cluster of its own can only be brought up by root")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise CannotInstallError(f"{', '.join(missing)} not found, and there is no apt-get")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (
        ["update", "-qq"],
        ["install", "-qq", "-y", "--no-install-recommends", *_PACKAGES],
    ):
        done = subprocess.run(
            ["apt-get", *words], capture_output=True, text=True, check=False, env=quiet
        )
        if done.returncode and words[0] == "install":
            raise CannotInstallError(f"apt-get install failed: {done.stderr.strip()[-400:]}")


def refuse_another_slurm() -> None:
    """Raise CannotInstallError where the host belongs to another cluster."""
    conf = CONFIG / "slurm.conf"
    if conf.exists() and not is_ours(conf):
        raise CannotInstallError(
            f"{conf} is another cluster's; a devcluster wants a host of its own"
        )


def is_ours(file: Path) -> bool:
    """Return whether a file was written here."""
    return file.is_file() and file.read_text().startswith(_MARK)


def lay_out() -> None:
    """Make the folders, the keys and the files that stand for GPUs."""
    owners = {"munge": "munge", "mysql": "mysql", "state": "root", "spool": "root", "log": "root"}
    PLACE.mkdir(exist_ok=True, parents=True)
    PLACE.chmod(0o755)
    for name, owner in owners.items():
        folder = PLACE / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        shutil.chown(folder, owner)
    for number in range(_GPUS):
        (PLACE / f"gpu{number}").touch()
    for secret in ("munge/key", "password"):
        path = PLACE / secret
        if not path.exists():
            path.write_text(secrets.token_hex(64))
            path.chmod(0o600)
    shutil.chown(PLACE / "munge/key", "munge")


def write_configs(max_array_size: int) -> bool:
    """Write Slurm's files; return whether slurm.conf differs from before."""
    CONFIG.mkdir(exist_ok=True)
    before = (CONFIG / "slurm.conf").read_text() if (CONFIG / "slurm.conf").exists() else ""
    host = socket.gethostname()
    slurm = _SLURM_CONF.format(
        mark=_MARK, host=host, place=PLACE, nodes=len(NODES), gpus=_GPUS, array=max_array_size
    )
    (CONFIG / "slurm.conf").write_text(slurm)
    gres = (
        f"{_MARK}\nNodeName=cn[1-{len(NODES)}] Name=gpu Type=v100 File={PLACE}/gpu[0-{_GPUS - 1}]\n"
    )
    (CONFIG / "gres.conf").write_text(gres)
    accounting = CONFIG / "slurmdbd.conf"
    password = (PLACE / "password").read_text()
    accounting.touch(mode=0o600)
    accounting.write_text(
        _SLURMDBD_CONF.format(
            mark=_MARK, place=PLACE, port=_DATABASE_PORT, password=password, host=host
        )
    )
    return before != slurm


_SLURM_CONF = """{mark}
ClusterName=devcluster
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
# Credentials that expire soon let a requeued job start again after seconds, not two minutes.
AuthInfo=socket={place}/munge/socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
SlurmctldPort=16817
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.%n.pid
SlurmdSpoolDir={place}/spool/%n
StateSaveLocation={place}/state
SlurmctldLogFile={place}/log/slurmctld.log
SlurmdLogFile={place}/log/slurmd.%n.log
ReturnToService=2
JobRequeue=1
KillWait=10
SlurmdTimeout=10
MaxArraySize={array}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=bf_interval=2,sched_interval=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass={place}/munge/socket
AccountingStorageEnforce=associations,limits,qos
NodeName=cn[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-1700{nodes}] \
CPUs=2 RealMemory=6000 Gres=gpu:v100:{gpus}
PartitionName=gpu Nodes=ALL Default=YES PriorityTier=10 PreemptMode=OFF MaxTime=1-0 State=UP
PartitionName=quick Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=8 MaxTime=4:00:00 \
State=UP
"""

_SLURMDBD_CONF = """{mark}
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket
DbdHost=localhost
DbdPort=16819
SlurmUser=root
PidFile={place}/slurmdbd.pid
LogFile={place}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""


def munged() -> list[str]:
    """Return the command of munge's daemon."""
    place = PLACE / "munge"
    return [
        *("munged", f"--key-file={place}/key", f"--socket={place}/socket"),
        *(f"--pid-file={place}/munged.pid", f"--log-file={place}/munged.log"),
        f"--seed-file={place}/seed",
    ]


def mariadbd() -> list[str]:
    """Return the command of the database's daemon; its files are made where they are missing."""
    folder = PLACE / "mysql"
    if not (folder / "mysql").exists():
        run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={folder}", "--user=mysql"),
                *("--auth-root-authentication-method=socket", "--skip-test-db"),
            ]
        )
    return [
        *("mariadbd", "--no-defaults", f"--datadir={folder}", "--user=mysql"),
        *(f"--socket={folder}/socket", f"--pid-file={folder}/mariadbd.pid"),
        *("--bind-address=127.0.0.1", f"--port={_DATABASE_PORT}", "--skip-name-resolve"),
        *("--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900"),
        f"--log-error={PLACE}/log/mariadbd.log",
    ]


def remove() -> None:
    """Remove every file but those of the packages."""
    for name in ("slurm.conf", "gres.conf", "slurmdbd.conf"):
        if is_ours(CONFIG / name):
            (CONFIG / name).unlink()
    shutil.rmtree(PLACE, ignore_errors=True)
