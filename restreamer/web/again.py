"""Requests like the last ones of their connection, answered without asking the routes.

A player asks for the same playlist again and again, and for one segment after the other: heads that differ in
the last part of the path alone. What the route left for such requests (L{Repeat}) is kept for the last kinds
of them, for a few seconds; then the gate and the routes are asked in full again.
"""

from __future__ import annotations

import re
from typing import Final

from restreamer.http1.head import takes_ready
from restreamer.http1.parse import RequestHead
from restreamer.http1.reply import Ready, Repeat
from restreamer.seams import Viewing

#: Seconds for which requests are answered without asking the routes.
REPEAT_SECONDS: Final = 5.0
#: The same for who has no session: segments of a stream that asks nobody.
NOBODY_SECONDS: Final = 1.0
#: Kinds of requests that are kept: a playlist, segments, and segments in another folder.
_KINDS: Final = 3
_FILE: Final = re.compile(rb"[A-Za-z0-9._-]+")


class _Kind:
    """Heads that are alike.

    @ivar prefix, @ivar suffix: what they begin and end with. @ivar last: the last of them; @ivar file: what
        it had in between.
    """

    __slots__ = ("file", "last", "prefix", "repeat", "suffix", "until", "viewing")

    def __init__(
        self, prefix: bytes, suffix: bytes, repeat: Repeat, viewing: Viewing | None, until: float
    ) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.repeat = repeat
        self.viewing = viewing
        self.until = until
        self.last = b""
        self.file = ""


class Again:
    """What is kept of one connection. @ivar viewing: the session of the answer found last."""

    __slots__ = ("_kinds", "viewing")

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self.viewing: Viewing | None = None

    def keep(self, head: RequestHead, now: float) -> None:
        """C{head} was just answered with 200, and its route left what answers more of its kind."""
        request, raw = head.request, head.raw
        repeat, viewing = request.account.repeat, request.account.viewing
        if repeat is None or not takes_ready(request) or not raw.startswith(b"GET /"):
            return
        end = raw.index(b" ", 4)
        query = raw.find(b"?", 4, end)
        end = query if query >= 0 else end
        prefix, suffix = raw[: raw.rindex(b"/", 4, end) + 1], raw[end:]
        kinds = [
            kind
            for kind in self._kinds
            if kind.until > now
            # Who has a session now is counted for it.
            and (kind.viewing is not None or viewing is None)
            and (kind.prefix, kind.suffix, kind.repeat) != (prefix, suffix, repeat)
        ]
        until = now + (REPEAT_SECONDS if viewing is not None else NOBODY_SECONDS)
        self._kinds = [_Kind(prefix, suffix, repeat, viewing, until), *kinds[: _KINDS - 1]]

    def find(self, data: bytes, now: float) -> Ready | None:
        """The answer to the one whole request C{data}; None: it is not such a one, or the routes are to be
        asked.
        """
        for kind in self._kinds:
            if now >= kind.until:
                continue
            if data != kind.last:
                prefix, suffix = kind.prefix, kind.suffix
                if not (data.startswith(prefix) and data.endswith(suffix)):
                    continue
                file = data[len(prefix) : -len(suffix)]
                if _FILE.fullmatch(file) is None:
                    continue
                kind.last, kind.file = data, file.decode("ascii")
            ready = kind.repeat(kind.file)
            if ready is not None:
                self.viewing = viewing = kind.viewing
                if viewing is None:
                    return ready
                if not viewing.goes_on(now):
                    return None
                if ready.until:
                    viewing.show(ready.until)
                return ready
        return None
