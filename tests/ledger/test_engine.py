from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.ledger.engine import (
    address_of,
    engine_of,
    forget_passwords,
    libpq_address,
    parse_url,
    with_secret,
)
from tests.support.ports import free_port

URL = "postgresql://ann:s3cret@db.example/studies"


@pytest.mark.parametrize(
    "text",
    [
        "postgres//ann:s3cret@db",
        "mysql://ann:s3cret@db/x",
        "postgresql://ann:s3cret@db:notaport/x",
        "s3cret",
        "",
        "sqlite://",
    ],
)
def test_a_wrong_url_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SpecError, match="write ") as caught:
        parse_url(text)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_both_kinds_of_database_have_a_driver() -> None:
    assert parse_url(URL).drivername == "postgresql+psycopg"
    assert parse_url("sqlite:////a/b.sqlite").drivername == "sqlite+pysqlite"


def test_people_read_an_address_without_its_password() -> None:
    assert address_of(parse_url(URL)) == "postgresql+psycopg://ann@db.example/studies"
    asked = "postgresql://ann@db.example/studies?password=s3cret&sslmode=require"
    assert "s3cret" not in address_of(parse_url(asked))


def test_the_password_comes_from_the_environment_for_the_same_database_alone() -> None:
    bare = parse_url("postgresql://ann@db.example/studies")
    other = parse_url("postgresql://ann@db.example/others")
    environ = {"EMSEARCH_DATABASE": URL}
    assert with_secret(bare, environ).password == "s3cret"
    assert with_secret(other, environ).password is None
    assert with_secret(other, {"PGPASSWORD": "pg"}).password == "pg"
    assert "s3cret" in libpq_address(parse_url(URL))


def test_an_environment_forgets_its_passwords() -> None:
    environ = {"EMSEARCH_DATABASE": URL, "PGPASSWORD": "pg", "HOME": "/h"}
    forget_passwords(environ)
    assert environ == {"HOME": "/h"}


def test_a_server_that_is_away_is_named_without_the_password() -> None:
    url = parse_url(f"postgresql://ann:s3cret@127.0.0.1:{free_port()}/studies")
    with pytest.raises(StateError, match=r"cannot reach postgresql\+psycopg://ann@127") as caught:
        engine_of(url)
    assert "s3cret" not in str(caught.value)
    assert not isinstance(caught.value.__cause__, OperationalError)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="no ledger at /nowhere"):
        engine_of(parse_url("sqlite:////nowhere/ledger.sqlite"))
    assert not Path("/nowhere").exists()
