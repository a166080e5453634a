import csv
import io
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest

from emsearch.reports.listing import Form, cell, listing, print_fields, print_listing


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Thing:
    name: str
    colour: Colour
    size: float | None
    count: int


THINGS = [Thing("first", Colour.RED, 0.12345, 3), Thing("a much longer name", Colour.RED, None, 40)]


def printed(records: Any, form: Form = Form.TABLE, **options: Any) -> str:
    file = io.StringIO()
    print_listing(records, form, file=file, **options)
    return file.getvalue()


def test_json_holds_every_field_as_it_is() -> None:
    assert json.loads(printed(THINGS, Form.JSON)) == [
        {"name": "first", "colour": "red", "size": 0.12345, "count": 3},
        {"name": "a much longer name", "colour": "red", "size": None, "count": 40},
    ]


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(printed(THINGS, Form.CSV))))
    assert [row["name"] for row in rows] == ["first", "a much longer name"]
    assert [row["size"] for row in rows] == ["0.12345", ""]


def test_a_table_in_a_pipe_is_plain_aligned_and_uncut() -> None:
    wide = [Thing("n" * 300, Colour.RED, 0.5, 1)]
    assert "n" * 300 in printed(wide)
    lines = printed(THINGS).splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[1].index("0.123") + len("0.123") == lines[2].index("–") + 1  # right aligned
    assert all(line == line.rstrip() for line in lines)


def test_columns_choose_fields_and_their_order() -> None:
    assert printed(THINGS, Form.CSV, columns=["count", "name"]).splitlines()[0] == "count,name"
    assert printed(THINGS, columns=["count", "name"]).split()[:2] == ["count", "name"]


def test_no_records_are_a_sentence_or_an_empty_list() -> None:
    assert printed([], empty="No trials yet.") == "No trials yet.\n"
    assert json.loads(printed([], Form.JSON)) == []
    assert printed([], Form.CSV, columns=["name", "size"]) == "name,size\n"
    assert printed([], Form.CSV) == ""


def test_markdown_keeps_its_columns_whatever_a_name_holds() -> None:
    lines = printed([Thing("a|b", Colour.RED, 1.0, 2)], Form.MARKDOWN).splitlines()
    assert lines == [
        "| name | colour | size | count |",
        "| --- | --- | ---: | ---: |",
        "| a\\|b | red | 1.000 | 2 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("", "–"),
        (True, "yes"),
        (7, "7"),
        (1234567, "1,234,567"),
        (0.70949, "0.709"),
        (0.000431, "0.000431"),
        (0.0, "0.000"),
        ({"a": 0.5, "b": None}, "a 0.500, b –"),
    ],
)
def test_values_read_well(value: Any, text: str) -> None:
    assert cell(value) == text


def test_markup_and_control_characters_stay_text() -> None:
    text = printed([Thing("[red]\x1b[31mred[/]", Colour.RED, 1.0, 2)])
    assert "[red]" in text
    assert "\x1b" not in text


def test_one_record_is_lines_then_tables() -> None:
    file = io.StringIO()
    record = {"name": "x", "secret": 1, "parts": [{"a": 1, "b": 2}]}
    print_fields(record, hidden=["secret"], file=file)
    assert file.getvalue().split() == ["name", "x", "parts", "a", "b", "1", "2"]


def test_one_record_as_json_is_an_object_with_all_of_it() -> None:
    file = io.StringIO()
    print_fields(THINGS[0], Form.JSON, hidden=["size"], file=file)
    assert json.loads(file.getvalue())["size"] == 0.12345


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        listing([{"score": float("nan")}], Form.JSON)
