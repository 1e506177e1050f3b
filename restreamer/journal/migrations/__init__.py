"""The history of the journal's tables, run by Alembic when a database is opened."""
