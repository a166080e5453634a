"""How listings are asked for: options that several commands share."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emsearch.reports.listing import Form

__all__ = ["AsCsv", "AsJson", "form_of", "three"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


def form_of(*, as_json: bool, as_csv: bool) -> "Form":
    """Return the form that the options ask for: a table where none does."""
    from emsearch.reports.listing import Form

    if as_json:
        return Form.JSON
    return Form.CSV if as_csv else Form.TABLE


def three(text: str, kind: type, option: str) -> Any:
    """Return the three numbers of "z,y,x". Raises SpecError that names the option."""
    from emsearch.errors import SpecError

    try:
        first, second, third = (kind(part) for part in text.split(","))
    except ValueError:
        raise SpecError(f"{option} {text!r}: give three numbers z,y,x such as 1,256,256") from None
    return first, second, third
