"""On what file system a file lies, and whether a database is safe there."""

from pathlib import Path

__all__ = ["Mount", "is_network", "mount_of", "network_warning", "parse_mounts"]

Mount = tuple[str, str]
"""Where it is mounted, and the kind of file system."""

_TABLE = Path("/proc/self/mounts")
_NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "fuse.sshfs"),
        *("lustre", "gpfs", "beegfs", "panfs", "ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs"),
        *("orangefs", "pvfs2", "wekafs", "vast", "fuse.juicefs"),
    }
)


def parse_mounts(table: str) -> list[Mount]:
    """Return the mounts that the text of /proc/self/mounts lists, in its order."""
    lines = (line.split() for line in table.splitlines())
    return [(_unescape(parts[1]), parts[2]) for parts in lines if len(parts) >= 3]


def mount_of(path: Path, table: str | None = None) -> Mount:
    """Return the mount that `path` lies on: of several, the deepest, and of equals the last.

    `table` is the text of /proc/self/mounts, by default this host's own; without one, as on other
    systems than Linux, the kind is unknown.
    """
    place = path.resolve()
    text = _own_table() if table is None else table
    best: Mount = ("/", "unknown")
    for point, kind in parse_mounts(text):
        if place.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best


def is_network(mount: Mount) -> bool:
    """Return whether other hosts may write to the file system too."""
    return mount[1].lower() in _NETWORK


def network_warning(ledger: Path, table: str | None = None) -> str:
    """Return what a user should know of a SQLite ledger at `ledger`; empty where all is well."""
    mount = mount_of(ledger, table)
    if not is_network(mount):
        return ""
    return (
        f"the ledger {ledger} lies on a network file system ({mount[1]} at {mount[0]}): it is "
        "written with a rollback journal, slower, and must be opened for writing from one host "
        "alone. Better: PostgreSQL, or a local disk, by EMSEARCH_DATABASE or study.database "
        '(such as "sqlite:////local/disk/NAME.sqlite")'
    )


def _own_table() -> str:
    return _TABLE.read_text(encoding="utf-8", errors="replace") if _TABLE.is_file() else ""


def _unescape(text: str) -> str:
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text
