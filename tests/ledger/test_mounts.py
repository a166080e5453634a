from pathlib import Path

import pytest
from sqlalchemy import text

from emsearch.ledger import engine
from emsearch.ledger.mounts import is_network, mount_of, network_warning, parse_mounts
from emsearch.ledger.store import open_ledger

TABLE = """\
/dev/sda1 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export/home /home nfs4 rw,vers=4.2 0 0
10.0.0.1@o2ib:/scratch /scratch lustre rw,flock 0 0
gpfs01 /data gpfs rw 0 0
/dev/sdb1 /data/local\\040disk xfs rw 0 0
server:/other /database nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/x", "ext4", False),
        ("/home/ann/runs/vnc/ledger.sqlite", "nfs4", True),
        ("/scratch/ann", "lustre", True),
        ("/data/ann", "gpfs", True),
        ("/data/local disk/ann", "xfs", False),
        ("/datalake", "ext4", False),
    ],
)
def test_the_deepest_mount_counts(path: str, kind: str, network: bool) -> None:
    mount = mount_of(Path(path), TABLE)
    assert mount[1] == kind
    assert is_network(mount) is network
    assert bool(network_warning(Path(path), TABLE)) is network


def test_of_two_mounts_at_one_place_the_later_lies_on_top() -> None:
    assert mount_of(Path("/m/x"), "a /m nfs rw 0 0\nb /m ext4 rw 0 0\n")[1] == "ext4"


def test_the_warning_names_place_and_remedy() -> None:
    warning = network_warning(Path("/scratch/ann/ledger.sqlite"), TABLE)
    assert "lustre at /scratch" in warning
    assert "EMSEARCH_DATABASE" in warning


def test_lines_that_are_no_mounts_are_passed_over() -> None:
    assert parse_mounts("\n# none\n/dev/sda1 / ext4 rw 0 0\n") == [("/", "ext4")]


def test_this_hosts_own_table_is_read() -> None:
    assert mount_of(Path("/"))[0] == "/"


def test_on_a_network_file_system_there_is_no_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "mount_of", lambda _path: ("/", "nfs4"))
    ledger = open_ledger(tmp_path / "ledger.sqlite", create=True)
    with ledger.reading() as connection:
        assert connection.scalar(text("pragma journal_mode")) == "delete"
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]
    ledger.close()
