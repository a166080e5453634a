"""Bring up, torment and take down a real four-node Slurm on one host.

Debian's slurm-wlm with munge, slurmdbd and MariaDB, installed where missing (as root). All of it
lives in one folder, with its own keys, database and sockets; only slurm.conf lies in /etc/slurm,
where Slurm's commands look for it. `down` removes everything but the packages.
"""

import argparse
import os
import pwd
import sys
from collections.abc import Callable

import devcluster_setup as setup
from devcluster_processes import (
    NODES,
    PLACE,
    CannotInstallError,
    DevclusterError,
    attempt,
    end,
    lose_power,
    pid_of,
    run,
    start,
    wait_for,
)

CANNOT_INSTALL = 3
"""Exit code where this host cannot have the cluster: tests skip then, and say why."""


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
    setup.install()
    setup.refuse_another_slurm()
    setup.lay_out()
    changed = setup.write_configs(options.max_array_size)
    start("munged", setup.munged())
    start("mariadbd", setup.mariadbd(), ready=_database_answers)
    _make_database()
    start("slurmdbd", ["slurmdbd"], ready=_accounting_answers, then=_make_account)
    _set_limits(options.max_submit)
    if changed and pid_of("slurmctld"):
        end("slurmctld")
    start("slurmctld", ["slurmctld"], ready=_controller_answers)
    for node in NODES:
        start(f"slurmd.{node}", ["slurmd", "-N", node])
    _revive_all()
    wait_for(_nodes_are_up, "the nodes do not come up", 40)


def down(_options: argparse.Namespace) -> None:
    """End every process and remove every file; the packages stay."""
    if not PLACE.exists():
        return
    if pid_of("slurmctld"):
        attempt(["scancel", "--quiet", "--partition=gpu,quick"])
        attempt(["scancel", "--quiet", "--user", pwd.getpwuid(os.getuid()).pw_name])
    for node in NODES:
        lose_power(node)
    for daemon in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
        end(daemon)
    setup.remove()


def status(_options: argparse.Namespace) -> None:
    """Print daemons, nodes and jobs."""
    daemons = ("munged", "mariadbd", "slurmdbd", "slurmctld", *(f"slurmd.{node}" for node in NODES))
    for daemon in daemons:
        print(f"{daemon:12} {pid_of(daemon) or 'down'}")
    if pid_of("slurmctld"):
        print(attempt(["sinfo", "--format=%P %a %l %D %T %N"]), end="")
        print(attempt(["squeue", "--format=%i %P %j %T %M %R"]), end="")


def kill_node(options: argparse.Namespace) -> None:
    """Kill a node's daemon and every process on it at once, as if it lost power."""
    lose_power(options.node)


def revive(options: argparse.Namespace) -> None:
    """Bring a node back."""
    start(f"slurmd.{options.node}", ["slurmd", "-N", options.node])
    wait_for(lambda: _is_up(options.node), f"{options.node} does not come back", 60)


def stop_controller(_options: argparse.Namespace) -> None:
    """Stop slurmctld: squeue, sbatch and scancel fail, jobs run on."""
    end("slurmctld")


def start_controller(_options: argparse.Namespace) -> None:
    """Start slurmctld again."""
    start("slurmctld", ["slurmctld"], ready=_controller_answers)


def preempt(options: argparse.Namespace) -> None:
    """Submit a job of partition gpu that takes the nodes from the jobs of partition quick."""
    where = [f"--nodelist={options.node}"] if options.node else [f"--nodes={len(NODES)}"]
    run(
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


def _want_cluster(command: str) -> None:
    if command not in {"up", "down", "status"} and not PLACE.exists():
        raise DevclusterError("it is not up: slurm/devcluster up")


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
    return attempt(
        ["mariadb", "--no-defaults", f"--socket={PLACE}/mysql/socket", "--batch", "-e", text]
    )


def _accounting_answers() -> bool:
    return bool(attempt(["sacctmgr", "-n", "list", "qos", "format=name"]))


def _make_account() -> None:
    if "devcluster" in attempt(["sacctmgr", "-n", "list", "cluster", "format=cluster"]):
        return
    run(["sacctmgr", "-i", "add", "cluster", "devcluster"])
    user = pwd.getpwuid(os.getuid()).pw_name
    attempt(["sacctmgr", "-i", "add", "account", "lab", "cluster=devcluster"])
    attempt(["sacctmgr", "-i", "add", "user", user, "account=lab", "cluster=devcluster"])
    attempt(["sacctmgr", "-i", "modify", "user", user, "set", "defaultaccount=lab"])


def _set_limits(max_submit: int) -> None:
    limit = f"MaxSubmitJobsPerUser={max_submit}"
    attempt(["sacctmgr", "-i", "modify", "qos", "normal", "set", limit])


def _controller_answers() -> bool:
    return "UP" in attempt(["scontrol", "ping"])


def _revive_all() -> None:
    for node in NODES:
        if not _is_up(node):
            attempt(["scontrol", "update", f"nodename={node}", "state=resume"])


def _is_up(node: str) -> bool:
    state = attempt(["sinfo", "--noheader", f"--nodes={node}", "--format=%t"]).split()
    return bool(state) and state[0] in {"idle", "mix", "alloc", "comp"}


def _nodes_are_up() -> bool:
    return all(_is_up(node) for node in NODES)


if __name__ == "__main__":
    sys.exit(main())
