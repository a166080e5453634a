"""Migrations of the ledger, one for each version of its schema, run by Alembic."""
