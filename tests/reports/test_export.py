import csv
import json
from pathlib import Path

import pytest

from emsearch.errors import NotFoundError
from emsearch.ledger.store import Ledger, open_ledger
from emsearch.reports.export import TABLES, export_csv
from emsearch.reports.query import query


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_is_a_file_with_all_its_rows(
    ledger: Ledger, folder: Path, tmp_path: Path
) -> None:
    assert ledger
    path = folder / "ledger.sqlite"
    written = export_csv(path, tmp_path / "out")
    assert [one.name for one in written] == [f"{table}.csv" for table in TABLES]
    for table, file in zip(TABLES, written, strict=True):
        counted = query(path, f"SELECT count(*) AS n FROM {table}")  # noqa: S608
        assert len(rows(file)) == counted[0]["n"]
    candidates = rows(tmp_path / "out" / "candidates.csv")
    assert json.loads(candidates[0]["recipe"])["batch_size"] == 4


def test_an_empty_table_keeps_its_header(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger
    empty = tmp_path / "ledger.sqlite"
    open_empty(empty)
    export_csv(empty, tmp_path / "out")
    assert (tmp_path / "out" / "members.csv").read_text() == "ensemble_id,trial_id,weight\n"


def test_without_a_ledger_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no ledger"):
        export_csv(tmp_path / "ledger.sqlite", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def open_empty(path: Path) -> None:
    open_ledger(path, create=True).close()
