"""How listings are asked for: options that several commands share."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emsearch.reports.listing import Form

__all__ = ["AsCsv", "AsJson", "AsMarkdown", "form_of", "three"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]


def form_of(*, as_json: bool, as_csv: bool = False, as_markdown: bool = False) -> "Form":
    """Return the form that the options ask for: a table where none does."""
    from emsearch.reports.listing import Form

    asked = {Form.JSON: as_json, Form.CSV: as_csv, Form.MARKDOWN: as_markdown}
    return next((form for form, wanted in asked.items() if wanted), Form.TABLE)


def three(text: str, kind: type, option: str) -> Any:
    """Return the three numbers of "z,y,x". Raises SpecError that names the option."""
    from emsearch.errors import SpecError

    try:
        first, second, third = (kind(part) for part in text.split(","))
    except ValueError:
        raise SpecError(f"{option} {text!r}: give three numbers z,y,x such as 1,256,256") from None
    if min(first, second, third) <= 0:
        raise SpecError(f"{option} {text!r}: give three numbers above 0")
    return first, second, third
