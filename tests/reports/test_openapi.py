"""The JSON endpoints do what their description says, whatever they are asked."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.schemas import BaseSchema

from emsearch.ledger.store import Ledger
from emsearch.reports.web import make_app

TOKEN = "a-token"


@pytest.fixture
def described(ledger: Ledger, folder: Path) -> BaseSchema:
    app = make_app(ledger, folder, TOKEN)
    where = f"/{TOKEN}/openapi.json"
    return schemathesis.openapi.from_asgi(where, app, headers={"Host": "127.0.0.1"})


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: Case[Any]) -> None:
    case.call_and_validate(base_url=f"http://127.0.0.1/{TOKEN}")
