from collections.abc import Callable
from pathlib import Path

import pytest

from emsearch.records.files import write_json
from emsearch.records.job import Entry, JobFile
from emsearch.records.order import Order, ProbeOrder
from emsearch.records.version import code_version

WriteJob = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("inbox", "orders", "jobs"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def write_job(study: Path) -> WriteJob:
    """Return a function that writes a job of probes that wait for some seconds."""

    def write(
        token: str,
        *orders: int,
        seconds: float = 0.0,
        memory_gb: float = 0.0,
        at_once: int = 1,
        limit_gb: float | None = None,
    ) -> Path:
        for number in orders:
            order = Order(
                number=number,
                folder=f"tasks/probe-{number:06d}",
                kind="probe",
                task=ProbeOrder(seconds=seconds),
                version=code_version(),
            )
            write_json(study / "orders" / f"{number:08d}.json", order.to_dict())
        entries = tuple(
            Entry(order=number, generation=number, expected_s=seconds, memory_gb=memory_gb)
            for number in orders
        )
        path = study / "jobs" / token / "job.json"
        JobFile(token=token, tasks=(entries,), at_once=at_once, memory_gb=limit_gb).write(path)
        return path

    return write
