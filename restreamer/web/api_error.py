"""What the API answers instead of what was asked for, and how it writes JSON (pure)."""

from __future__ import annotations

import json
from typing import Any


class ApiError(Exception):
    """A request the API does not answer with what was asked for.

    @ivar status: HTTP status; @ivar code: a word for programs; @ivar title: a sentence for people.
    @ivar allow: for 405, the methods there are.
    """

    def __init__(self, status: int, code: str, title: str, allow: str = "") -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title
        self.allow = allow

    def body(self) -> dict[str, Any]:
        """The JSON shape of the error."""
        return {"errors": [{"status": str(self.status), "code": self.code, "title": self.title}]}


def to_json(value: Any) -> bytes:
    """C{value} as compact JSON in UTF-8, with nothing in it that HTML could take for a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "backslashreplace")
