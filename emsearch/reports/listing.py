"""Printing records: for people as a table, for machines as JSON, CSV or Markdown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import StrEnum
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Form", "cell", "csv_cell", "listing", "print_fields", "print_listing"]

_WIDE = 10_000  # columns of a pipe: nothing is cut there
_ABSENT = "–"


class Form(StrEnum):
    """How records are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


def print_listing(
    records: Sequence[Any],
    form: Form = Form.TABLE,
    *,
    empty: str = "nothing to list",
    columns: Sequence[str] = (),
    title: str = "",
    file: IO[str] | None = None,
) -> None:
    """Print dataclass records or mappings of equal keys to `file`, by default standard output.

    `columns` chooses fields and their order, all by default. Where there are no records, a table
    is the sentence `empty`, JSON an empty list, CSV and Markdown the header where one is known.
    """
    console = console_for(file)
    if form == Form.TABLE:
        rows = [_chosen(record, columns) for record in records]
        if title:
            _print(console, Text(title, style="bold"))
        _print(console, table(rows) if rows else _plain(empty))
        return
    console.file.write(listing(records, form, columns))


def listing(records: Sequence[Any], form: Form, columns: Sequence[str] = ()) -> str:
    """Return records as JSON, CSV or Markdown text, ending with a line's end."""
    rows = [_chosen(record, columns) for record in records]
    writers = {Form.JSON: _json, Form.CSV: _csv, Form.MARKDOWN: _markdown}
    return writers[form](rows, list(columns))


def print_fields(
    record: Any,
    form: Form = Form.TABLE,
    *,
    hidden: Sequence[str] = (),
    file: IO[str] | None = None,
) -> None:
    """Print one record: a line a field, then a table for each field that holds records.

    As JSON it is one object; CSV and Markdown list it as the only row. Only a table leaves the
    `hidden` fields out.
    """
    values = _values(record)
    if form == Form.JSON:
        console_for(file).file.write(_dumped(values) + "\n")
        return
    if form != Form.TABLE:
        print_listing([values], form, file=file)
        return
    console = console_for(file)
    lines = Table(box=None, show_header=False, pad_edge=False)
    lines.add_column(style="bold")
    lines.add_column()
    nested = {name: value for name, value in values.items() if _is_listing(value)}
    for name, value in values.items():
        if name not in nested and name not in hidden:
            lines.add_row(name.replace("_", " "), _plain(cell(value)))
    _print(console, lines)
    for name, rows in nested.items():
        _print(console, Text(f"\n{name}", style="bold"))
        _print(console, table(rows))


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return rows as a table: numbers to the right, the header from the first row's keys."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        numeric = all(_is_number(row[name]) for row in rows)
        label = name.replace("_", " ")
        drawn.add_column(label, justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        style = "cyan" if row.get("baseline") is True else None
        drawn.add_row(*(_plain(cell(value)) for value in row.values()), style=style)
    return drawn


def cell(value: Any) -> str:
    """Return a value as people read it: three decimals, thousands apart, a dash for nothing."""
    if value is None or value == "":
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Numbers that only name something, such as seeds, are there to be copied.
        return f"{value:,}" if 10_000 <= abs(value) < 10**15 else str(value)
    if isinstance(value, float):
        return f"{value:.3f}" if 0.01 <= abs(value) < 10_000 or value == 0 else f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(inner)}" for key, inner in value.items()) or _ABSENT
    return str(value)


def console_for(file: IO[str] | None) -> Console:
    """Return a console that colours a terminal, and leaves a pipe plain and uncut."""
    console = Console(file=file, highlight=False)
    return console if console.is_terminal else Console(file=file, highlight=False, width=_WIDE)


def _print(console: Console, shown: Table | Text) -> None:
    if console.is_terminal:
        console.print(shown)
        return
    with console.capture() as captured:
        console.print(shown)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _plain(text: str) -> Text:
    """Return text as it is: no markup, and no control characters from a log or a study file."""
    shown = "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)
    return Text(shown.rstrip())


def _values(record: Any) -> dict[str, Any]:
    return asdict(record) if is_dataclass(record) else dict(record)  # type: ignore[arg-type]


def _chosen(record: Any, columns: Sequence[str]) -> dict[str, Any]:
    values = _values(record)
    return {name: values[name] for name in columns} if columns else values


def _is_listing(value: Any) -> bool:
    return bool(value) and isinstance(value, list | tuple) and isinstance(value[0], Mapping)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


def _json(rows: Sequence[Mapping[str, Any]], _columns: list[str]) -> str:
    return _dumped(rows) + "\n"


def _csv(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or (list(rows[0]) if rows else []), lineterminator="\n")
    if writer.fieldnames:
        writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """Return a value as a cell of a file: what has parts as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _markdown(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> str:
    names = columns or (list(rows[0]) if rows else [])
    if not names:
        return ""
    numeric = [all(_is_number(row[name]) for row in rows) for name in names]
    rule = ["---:" if right else "---" for right in numeric]
    lines = [names, rule, *([_escaped(cell(row[name])) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
