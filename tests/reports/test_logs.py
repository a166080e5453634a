from pathlib import Path

import pytest

from emsearch.errors import SpecError
from emsearch.reports.logs import LOG_TAIL, log_of


def write(folder: Path, text: str) -> None:
    path = folder / "jobs" / "vnc-1" / "log-0.txt"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_an_attempt_has_its_own_part_of_its_jobs_log(tmp_path: Path) -> None:
    write(tmp_path, "== order 1: train\none\n== order 12: train\ntwelve\n== order 2: train\ntwo\n")
    assert log_of(tmp_path, "vnc-1.0.1.0") == "train\none"
    assert log_of(tmp_path, "vnc-1.0.12.0") == "train\ntwelve"
    assert log_of(tmp_path, "vnc-1.0.2.0") == "train\ntwo"


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    write(tmp_path, "== order 1: train\n" + "x" * 10 * LOG_TAIL + "the end\n")
    tail = log_of(tmp_path, "vnc-1.0.1.0")
    assert tail.endswith("xthe end")
    assert len(tail) < LOG_TAIL


def test_no_log_is_an_empty_text(tmp_path: Path) -> None:
    assert log_of(tmp_path, "vnc-1.0.1.0") == ""


def test_an_attempts_name_leads_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no attempt's name"):
        log_of(tmp_path, "../../etc.0.1.0")
