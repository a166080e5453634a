from pathlib import Path

import pytest

from emsearch.errors import SpecError
from emsearch.ledger.store import Ledger
from emsearch.reports.query import query


def test_a_select_gives_its_rows_by_name(ledger: Ledger) -> None:
    rows = query(ledger, "SELECT origin, count(*) AS n FROM candidates GROUP BY origin ORDER BY n")
    assert rows == [
        {"origin": "baseline", "n": 1},
        {"origin": "tuned", "n": 12},
        {"origin": "random", "n": 16},
    ]


def test_two_columns_of_one_name_are_both_kept(ledger: Ledger) -> None:
    rows = query(ledger, "SELECT t.id, c.id FROM trials t JOIN candidates c ON c.id = candidate_id")
    assert list(rows[0]) == ["id", "id_2"]


def test_a_common_table_expression_is_a_reading_too(ledger: Ledger) -> None:
    statement = """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3)
        SELECT sum(i) AS s FROM n
    """
    assert query(ledger, statement) == [{"s": 6}]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM trials",
        "UPDATE trials SET score = 1",
        "WITH worst AS (SELECT id FROM trials) DELETE FROM trials WHERE id IN worst",
        "INSERT INTO members VALUES (1, 1, 1)",
        "DROP TABLE trials",
        "CREATE TABLE notes (text)",
        "PRAGMA query_only = OFF",
        "PRAGMA user_version = 7",
        "ATTACH DATABASE 'other.sqlite' AS other",
        "VACUUM INTO 'copy.sqlite'",
        "BEGIN IMMEDIATE",
        "SELECT 1; DELETE FROM trials",
        "SELECT nonsense FROM nowhere",
    ],
)
def test_whatever_is_no_reading_is_refused_and_changes_nothing(
    ledger: Ledger, statement: str
) -> None:
    before = query(ledger, "SELECT * FROM trials")
    with pytest.raises(SpecError, match="the ledger refuses"):
        query(ledger, statement)
    assert query(ledger, "SELECT * FROM trials") == before
    assert not (Path.cwd() / "copy.sqlite").exists()
    assert not (Path.cwd() / "other.sqlite").exists()
