"""What a backend over HTTP is sent about a session."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from restreamer.sessions.answers import Question

#: Characters of one field that are sent.
MAX_FIELD: Final = 2048


def fields_of(question: Question) -> dict[str, Any]:
    """The fields of C{question}: text, whole numbers, and seconds."""
    found: dict[str, Any] = {
        "name": question.name,
        "proto": question.proto,
        "ip": question.ip,
        "token": question.token,
        "request_type": question.request_type,
        "request_number": question.request_number,
        "session_id": question.session_id,
        "stream_clients": question.stream_clients,
        "total_clients": question.total_clients,
        "duration": int(question.duration),
        "bytes": question.bytes,
        "qs": question.query,
        "user_agent": question.user_agent,
        "referer": question.referer,
        "host": question.host,
    }
    if question.country:
        found["country"] = question.country
    if question.span is not None:
        found["from"], found["to"] = (int(each) for each in question.span)
    if question.action == "publish" and question.password:
        found["password"] = question.password
    return {key: value[:MAX_FIELD] if isinstance(value, str) else value for key, value in found.items()}


def play_url(url: str, question: Question) -> bytes:
    """C{url} with the fields of C{question} added to its own query."""
    parts = urlsplit(url)
    more = urlencode(fields_of(question), errors="replace")
    query = f"{parts.query}&{more}" if parts.query else more
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, "")).encode("ascii", "replace")


def publish_body(question: Question) -> bytes:
    """The JSON body (ASCII) a backend of publishers is sent."""
    return json.dumps(fields_of(question), separators=(",", ":")).encode("ascii")
