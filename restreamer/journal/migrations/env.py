"""What Alembic runs: the steps, on the connection that L{restreamer.journal.database} gives."""

from __future__ import annotations

from alembic import context

from restreamer.journal.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="journal_version",
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
