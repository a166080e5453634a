"""Bringing an older ledger up to the present schema, with Alembic. Only a coordinator does."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

__all__ = ["migrate", "scripts"]


def migrate(engine: Engine, version: str = "head") -> None:
    """Bring a database up to a version of the schema, in one transaction, from any older one."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def scripts() -> ScriptDirectory:
    """Return the migrations that are there."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config
