import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet
from sqlalchemy import func, select

from emsearch.ledger.store import Ledger
from emsearch.ledger.tables import Base
from emsearch.reports.export import TABLES, FileKind, export


def counted(ledger: Ledger, table: str) -> int:
    with ledger.reading() as connection:
        found = select(func.count()).select_from(Base.metadata.tables[table])
        return int(connection.scalar(found) or 0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_is_a_csv_file_with_all_its_rows(ledger: Ledger, tmp_path: Path) -> None:
    written = export(ledger, tmp_path / "out", FileKind.CSV)
    assert [one.name for one in written] == [f"{table}.csv" for table in TABLES]
    for table, file in zip(TABLES, written, strict=True):
        assert len(rows(file)) == counted(ledger, table)
    candidates = rows(tmp_path / "out" / "candidates.csv")
    assert json.loads(candidates[0]["recipe"])["batch_size"] == 4


def test_every_table_is_a_parquet_file_with_types(ledger: Ledger, tmp_path: Path) -> None:
    written = export(ledger, tmp_path / "out", FileKind.PARQUET)
    assert [one.name for one in written] == [f"{table}.parquet" for table in TABLES]
    for table, file in zip(TABLES, written, strict=True):
        assert parquet.read_metadata(file).num_rows == counted(ledger, table)
    trials = parquet.read_table(tmp_path / "out" / "trials.parquet")
    assert str(trials.schema.field("score").type) == "double"
    assert str(trials.schema.field("id").type) == "int64"
    assert trials.column("seed").to_pylist()[:3] == [0, 1, 2]


@pytest.mark.parametrize("kind", list(FileKind))
def test_an_empty_table_keeps_its_columns(ledger: Ledger, tmp_path: Path, kind: FileKind) -> None:
    assert counted(ledger, "members") > 0
    path = next(one for one in export(ledger, tmp_path, kind) if one.stem == "members")
    names = parquet.read_schema(path).names if kind == FileKind.PARQUET else list(rows(path)[0])
    assert names == ["ensemble_id", "trial_id", "weight"]


def test_only_the_ledgers_own_study_is_exported(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no study 'another'"):
        export(ledger.of("another"), tmp_path, FileKind.CSV)
    assert list(tmp_path.iterdir()) == []
