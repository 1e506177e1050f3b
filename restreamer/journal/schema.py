"""The tables of the journal. Their history is in L{restreamer.journal.migrations}."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, String, Table, Text

METADATA = MetaData()

#: One row for each closed session.
SESSIONS = Table(
    "sessions",
    METADATA,
    Column("session_id", String(32), primary_key=True),
    Column("node_id", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("proto", Text, nullable=False),
    Column("ip", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("referer", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("closed_at", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("past", Boolean, nullable=False),
    Column("closed_why", Text, nullable=False),
    Index("sessions_by_close", "closed_at", "session_id"),
    Index("sessions_by_name", "name", "closed_at"),
    Index("sessions_by_user", "user_id", "closed_at"),
)

#: What each stream sent by each protocol in each minute.
TRAFFIC = Table(
    "traffic",
    METADATA,
    Column("minute", BigInteger, primary_key=True),
    Column("node_id", String(32), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("proto", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("viewers", BigInteger, nullable=False),
    Index("traffic_by_name", "name", "minute"),
)
