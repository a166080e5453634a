"""The initial migration, as it follows from the tables: python -m tests.support.initial_migration.

Until a version is released there is one migration alone, and a change of the tables writes it anew.
"""

from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from emsearch.ledger import migrate
from emsearch.ledger.schema import HEAD
from emsearch.ledger.tables import Base

FILE = Path(migrate.__file__).parent / "migrations" / "versions" / "v0_1_initial.py"


def initial_migration() -> str:
    """Return the text of the migration that makes the tables in an empty database."""
    with create_engine("sqlite://").connect() as connection:
        options = {"target_metadata": Base.metadata}
        context = MigrationContext.configure(connection, opts=options)
        made = produce_migrations(context, Base.metadata)
        assert made.upgrade_ops is not None
        body = render_python_code(made.upgrade_ops)
    return (
        f'"""All tables of schema {HEAD}; written by tests/support/initial_migration.py."""\n\n'
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f'revision = "{HEAD}"\ndown_revision = None\nbranch_labels = None\ndepends_on = None\n\n\n'
        f"def upgrade() -> None:\n    {body}\n"
    )


if __name__ == "__main__":
    FILE.write_text(initial_migration(), encoding="utf-8")
