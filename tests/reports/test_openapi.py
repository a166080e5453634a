"""The JSON endpoints do what their description says, whatever they are asked."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok

from emsearch.ledger.store import Ledger
from emsearch.reports.web import make_app

TOKEN = "a-token"
thoroughly = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
def test_every_answer_is_as_described(ledger: Ledger, folder: Path) -> None:
    app = make_app(ledger, folder, TOKEN)
    where = f"/{TOKEN}/openapi.json"
    schema = schemathesis.openapi.from_asgi(where, app, headers={"Host": "127.0.0.1"})
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert operations

    for operation in operations:

        @given(case=operation.as_strategy())
        @thoroughly
        def ask(case: Case[Any]) -> None:
            case.call_and_validate(base_url=f"http://127.0.0.1/{TOKEN}")

        ask()
