"""What Alembic runs for each upgrade: on the connection that it is handed, in its transaction."""

from alembic import context

from emsearch.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by writing it anew
    transactional_ddl=True,
)
context.run_migrations()
