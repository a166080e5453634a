"""Bring up, torment and take down a real four-node Slurm on one host.

Debian's slurm-wlm with munge, slurmdbd and MariaDB, installed where missing (as root). All of it
lives in one folder, with its own keys, database and sockets; only slurm.conf lies in /etc/slurm,
where Slurm's commands look for it. `down` removes everything but the packages.
"""

import argparse
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PLACE = Path("/var/lib/emsearch-devcluster")
CONFIG = Path("/etc/slurm")
NODES = ("cn1", "cn2", "cn3", "cn4")
GPUS = 2  # of each node; plain files stand for them
PACKAGES = ("slurm-wlm", "munge", "slurmdbd", "mariadb-server")
DATABASE_PORT = 33061
MARK = "# written by emsearch's slurm/devcluster"
CANNOT_INSTALL = 3
"""Exit code where this host cannot have the cluster: tests skip then, and say why."""


class CannotInstallError(Exception):
    """This host cannot have the cluster."""


class DevclusterError(Exception):
    """Something did not come up, with what its log says."""


def main() -> int:
    """Run the command that the user names; return the exit code."""
    parser = argparse.ArgumentParser(prog="slurm/devcluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring it up; what runs already stays")
    up.add_argument("--max-array-size", type=int, default=50, help="tasks in an array (50)")
    up.add_argument("--max-submit", type=int, default=60, help="jobs of a user at once (60)")
    commands.add_parser("down", help="take it down and remove all but the packages")
    commands.add_parser("status", help="show daemons, nodes and jobs")
    for name in ("kill-node", "revive"):
        node = commands.add_parser(name, help="a node loses power, or comes back")
        node.add_argument("node", choices=NODES)
    commands.add_parser("stop-controller", help="slurmctld goes away; jobs run on")
    commands.add_parser("start-controller", help="slurmctld comes back")
    preempt = commands.add_parser("preempt", help="take the nodes from partition quick's jobs")
    preempt.add_argument("--node", choices=NODES, help="only this one")
    preempt.add_argument("--seconds", type=int, default=10, help="and hold them so long (10)")
    options = parser.parse_args()
    try:
        _want_cluster(options.command)
        _COMMANDS[options.command](options)
    except CannotInstallError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return CANNOT_INSTALL
    except DevclusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    return 0


def up(options: argparse.Namespace) -> None:
    """Bring everything up that is not; wait until all nodes take jobs."""
    _install()
    _refuse_another_slurm()
    _lay_out()
    changed = _write_configs(options.max_array_size)
    _start("munged", _munged())
    _start("mariadbd", _mariadbd(), ready=_database_answers)
    _make_database()
    _start("slurmdbd", ["slurmdbd"], ready=_accounting_answers, then=_make_account)
    _set_limits(options.max_submit)
    if changed and _pid("slurmctld"):
        _end("slurmctld")
    _start("slurmctld", ["slurmctld"], ready=_controller_answers)
    for node in NODES:
        _start(f"slurmd.{node}", ["slurmd", "-N", node])
    _revive_all()
    _wait(_nodes_are_up, "the nodes do not come up", 40)


def down(_options: argparse.Namespace) -> None:
    """End every process and remove every file; the packages stay."""
    if not PLACE.exists():
        return
    if _pid("slurmctld"):
        _try(["scancel", "--quiet", "--partition=gpu,quick"])
        _try(["scancel", "--quiet", "--user", pwd.getpwuid(os.getuid()).pw_name])
    for node in NODES:
        _lose_power(node)
    for daemon in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
        _end(daemon)
    for name in ("slurm.conf", "gres.conf", "slurmdbd.conf"):
        if _is_ours(CONFIG / name):
            (CONFIG / name).unlink()
    shutil.rmtree(PLACE, ignore_errors=True)


def status(_options: argparse.Namespace) -> None:
    """Print daemons, nodes and jobs."""
    daemons = ("munged", "mariadbd", "slurmdbd", "slurmctld", *(f"slurmd.{node}" for node in NODES))
    for daemon in daemons:
        print(f"{daemon:12} {_pid(daemon) or 'down'}")
    if _pid("slurmctld"):
        print(_try(["sinfo", "--format=%P %a %l %D %T %N"]), end="")
        print(_try(["squeue", "--format=%i %P %j %T %M %R"]), end="")


def kill_node(options: argparse.Namespace) -> None:
    """Kill a node's daemon and every process on it at once, as if it lost power."""
    _lose_power(options.node)


def revive(options: argparse.Namespace) -> None:
    """Bring a node back."""
    _start(f"slurmd.{options.node}", ["slurmd", "-N", options.node])
    _wait(lambda: _is_up(options.node), f"{options.node} does not come back", 60)


def stop_controller(_options: argparse.Namespace) -> None:
    """Stop slurmctld: squeue, sbatch and scancel fail, jobs run on."""
    _end("slurmctld")


def start_controller(_options: argparse.Namespace) -> None:
    """Start slurmctld again."""
    _start("slurmctld", ["slurmctld"], ready=_controller_answers)


def preempt(options: argparse.Namespace) -> None:
    """Submit a job of partition gpu that takes the nodes from the jobs of partition quick."""
    where = [f"--nodelist={options.node}"] if options.node else [f"--nodes={len(NODES)}"]
    _run(
        [
            *("sbatch", "--parsable", "--partition=gpu", "--exclusive", *where),
            *("--job-name=preempt", "--output=/dev/null", f"--wrap=sleep {options.seconds}"),
        ]
    )


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "up": up,
    "down": down,
    "status": status,
    "kill-node": kill_node,
    "revive": revive,
    "stop-controller": stop_controller,
    "start-controller": start_controller,
    "preempt": preempt,
}


# What is on the host


def _want_cluster(command: str) -> None:
    if command not in {"up", "down", "status"} and not PLACE.exists():
        raise DevclusterError("it is not up: slurm/devcluster up")


def _install() -> None:
    programs = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sacctmgr")
    missing = [name for name in programs if not shutil.which(name, path=_path())]
    if os.getuid() != 0:
        raise CannotInstallError("a cluster of its own can only be brought up by root")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise CannotInstallError(f"{', '.join(missing)} not found, and there is no apt-get")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (
        ["update", "-qq"],
        ["install", "-qq", "-y", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(
            ["apt-get", *words], capture_output=True, text=True, check=False, env=quiet
        )
        if done.returncode and words[0] == "install":
            raise CannotInstallError(f"apt-get install failed: {done.stderr.strip()[-400:]}")


def _refuse_another_slurm() -> None:
    conf = CONFIG / "slurm.conf"
    if conf.exists() and not _is_ours(conf):
        raise CannotInstallError(
            f"{conf} is another cluster's; a devcluster wants a host of its own"
        )


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.read_text().startswith(MARK)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"


def _lay_out() -> None:
    owners = {"munge": "munge", "mysql": "mysql", "state": "root", "spool": "root", "log": "root"}
    PLACE.mkdir(exist_ok=True, parents=True)
    PLACE.chmod(0o755)
    for name, owner in owners.items():
        folder = PLACE / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        shutil.chown(folder, owner)
    for number in range(GPUS):
        (PLACE / f"gpu{number}").touch()
    for secret in ("munge/key", "password"):
        path = PLACE / secret
        if not path.exists():
            path.write_text(secrets.token_hex(64))
            path.chmod(0o600)
    shutil.chown(PLACE / "munge/key", "munge")


def _write_configs(max_array_size: int) -> bool:
    """Write Slurm's files; return whether slurm.conf differs from before."""
    CONFIG.mkdir(exist_ok=True)
    before = (CONFIG / "slurm.conf").read_text() if (CONFIG / "slurm.conf").exists() else ""
    host = socket.gethostname()
    slurm = _SLURM_CONF.format(
        mark=MARK, host=host, place=PLACE, nodes=len(NODES), gpus=GPUS, array=max_array_size
    )
    (CONFIG / "slurm.conf").write_text(slurm)
    gres = (
        f"{MARK}\nNodeName=cn[1-{len(NODES)}] Name=gpu Type=v100 File={PLACE}/gpu[0-{GPUS - 1}]\n"
    )
    (CONFIG / "gres.conf").write_text(gres)
    accounting = CONFIG / "slurmdbd.conf"
    password = (PLACE / "password").read_text()
    accounting.touch(mode=0o600)
    accounting.write_text(
        _SLURMDBD_CONF.format(
            mark=MARK, place=PLACE, port=DATABASE_PORT, password=password, host=host
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


# Daemons


def _munged() -> list[str]:
    place = PLACE / "munge"
    return [
        *("munged", f"--key-file={place}/key", f"--socket={place}/socket"),
        *(f"--pid-file={place}/munged.pid", f"--log-file={place}/munged.log"),
        f"--seed-file={place}/seed",
    ]


def _mariadbd() -> list[str]:
    folder = PLACE / "mysql"
    if not (folder / "mysql").exists():
        _run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={folder}", "--user=mysql"),
                *("--auth-root-authentication-method=socket", "--skip-test-db"),
            ]
        )
    return [
        *("mariadbd", "--no-defaults", f"--datadir={folder}", "--user=mysql"),
        *(f"--socket={folder}/socket", f"--pid-file={folder}/mariadbd.pid"),
        *("--bind-address=127.0.0.1", f"--port={DATABASE_PORT}", "--skip-name-resolve"),
        *("--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900"),
        f"--log-error={PLACE}/log/mariadbd.log",
    ]


_PID_FILES = {"munged": "munge/munged.pid", "mariadbd": "mysql/mariadbd.pid"}
_BACKGROUND = {"mariadbd"}  # does not detach itself


def _pid(daemon: str) -> int | None:
    """Return the process of a daemon, None where it does not run."""
    path = PLACE / _PID_FILES.get(daemon, f"{daemon}.pid")
    try:
        pid = int(path.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name == daemon.partition(".")[0] else None


def _start(
    daemon: str,
    command: Sequence[str],
    ready: Callable[[], bool] = lambda: True,
    then: Callable[[], None] = lambda: None,
) -> None:
    if _pid(daemon) is None:
        user = "munge" if daemon == "munged" else None
        with (PLACE / "log" / f"{daemon}.out").open("ab") as output:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
                group=user,
                env=_clean_environment(),
                start_new_session=True,
                cwd="/",
            )
        if daemon not in _BACKGROUND and started.wait(timeout=60):
            raise DevclusterError(f"{daemon} does not start:\n{_log_of(daemon)}")
    _wait(lambda: _pid(daemon) is not None and ready(), f"{daemon} does not come up", 60, daemon)
    then()


def _clean_environment() -> dict[str, str]:
    """Return an environment for daemons: jobs would inherit what the caller's holds."""
    return {"PATH": _path(), "LANG": "C.UTF-8", "HOME": "/root"}


def _end(daemon: str) -> None:
    pid = _pid(daemon)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    try:
        _wait(lambda: _pid(daemon) is None, f"{daemon} does not end", 20)
    except DevclusterError:
        os.kill(pid, signal.SIGKILL)


def _lose_power(node: str) -> None:
    """Kill a node's daemon, the managers of its steps and every process of its jobs."""
    if pid := _pid(f"slurmd.{node}"):
        os.kill(pid, signal.SIGKILL)
    (PLACE / f"slurmd.{node}.pid").unlink(missing_ok=True)
    for _ in range(3):  # a process may start another while it is looked at
        for pid in _processes_of(node):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _processes_of(node: str) -> list[int]:
    wanted = f"SLURMD_NODENAME={node}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found += [int(folder.name), *_manager_of(folder)]
        except OSError:
            continue
    return found


def _manager_of(process: Path) -> list[int]:
    """Return the slurmstepd that a job's process was started by, none where another did."""
    parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    name = Path(f"/proc/{parent}/comm").read_text().strip()
    return [parent] if name == "slurmstepd" else []


# Asking


def _database_answers() -> bool:
    return bool(_sql("SELECT 1"))


def _make_database() -> None:
    password = (PLACE / "password").read_text()
    _sql(
        "CREATE DATABASE IF NOT EXISTS slurm_acct_db;"
        f"CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY '{password}';"
        "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'"
    )


def _sql(text: str) -> str:
    return _try(
        ["mariadb", "--no-defaults", f"--socket={PLACE}/mysql/socket", "--batch", "-e", text]
    )


def _accounting_answers() -> bool:
    return bool(_try(["sacctmgr", "-n", "list", "qos", "format=name"]))


def _make_account() -> None:
    if "devcluster" in _try(["sacctmgr", "-n", "list", "cluster", "format=cluster"]):
        return
    _run(["sacctmgr", "-i", "add", "cluster", "devcluster"])
    user = pwd.getpwuid(os.getuid()).pw_name
    _try(["sacctmgr", "-i", "add", "account", "lab", "cluster=devcluster"])
    _try(["sacctmgr", "-i", "add", "user", user, "account=lab", "cluster=devcluster"])
    _try(["sacctmgr", "-i", "modify", "user", user, "set", "defaultaccount=lab"])


def _set_limits(max_submit: int) -> None:
    limit = f"MaxSubmitJobsPerUser={max_submit}"
    _try(["sacctmgr", "-i", "modify", "qos", "normal", "set", limit])


def _controller_answers() -> bool:
    return "UP" in _try(["scontrol", "ping"])


def _revive_all() -> None:
    for node in NODES:
        if not _is_up(node):
            _try(["scontrol", "update", f"nodename={node}", "state=resume"])


def _is_up(node: str) -> bool:
    state = _try(["sinfo", "--noheader", f"--nodes={node}", "--format=%t"]).split()
    return bool(state) and state[0] in {"idle", "mix", "alloc", "comp"}


def _nodes_are_up() -> bool:
    return all(_is_up(node) for node in NODES)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_clean_environment()
    )
    if done.returncode:
        raise DevclusterError(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


def _try(command: Sequence[str]) -> str:
    try:
        return _run(command)
    except DevclusterError:
        return ""


def _wait(
    condition: Callable[[], bool], failure: str, seconds: float, daemon: str | None = None
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DevclusterError(f"{failure}\n{_log_of(daemon) if daemon else ''}")
        time.sleep(0.2)


def _log_of(daemon: str) -> str:
    logs = [PLACE / "log" / f"{daemon}.{kind}" for kind in ("log", "out")]
    return "\n".join(log.read_text()[-800:] for log in logs if log.is_file())


if __name__ == "__main__":
    sys.exit(main())
