"""Closed sessions, and traffic by the minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(32), primary_key=True),
        sa.Column("node_id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("proto", sa.Text, nullable=False),
        sa.Column("ip", sa.Text, nullable=False),
        sa.Column("country", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("user_agent", sa.Text, nullable=False),
        sa.Column("referer", sa.Text, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("closed_at", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("past", sa.Boolean, nullable=False),
        sa.Column("closed_why", sa.Text, nullable=False),
    )
    op.create_index("sessions_by_close", "sessions", ["closed_at", "session_id"])
    op.create_index("sessions_by_name", "sessions", ["name", "closed_at"])
    op.create_index("sessions_by_user", "sessions", ["user_id", "closed_at"])
    op.create_table(
        "traffic",
        sa.Column("minute", sa.BigInteger, primary_key=True),
        sa.Column("node_id", sa.String(32), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("proto", sa.Text, primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("opened", sa.BigInteger, nullable=False),
        sa.Column("viewers", sa.BigInteger, nullable=False),
    )
    op.create_index("traffic_by_name", "traffic", ["name", "minute"])


def downgrade() -> None:
    """There is nothing before."""
    op.drop_table("traffic")
    op.drop_table("sessions")
