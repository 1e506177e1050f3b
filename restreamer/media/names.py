"""Stream names: checked once, here, at the edge of the program.

A name is 1 to 255 bytes: up to 8 parts of C{[A-Za-z0-9._-]} joined by C{/}; no part is C{.} or C{..},
none begins with C{-} or C{.}. Such a name is safe in a URL, a path, a playlist and a log line.
"""

from __future__ import annotations

import re

from restreamer.errors import Reason, Refused

MAX_NAME = 255
MAX_PARTS = 8
#: A regular expression (of Python and ECMA-262) of such a name, but for its length.
NAME_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}"
_NAME = re.compile(NAME_PATTERN)


def valid_stream_name(name: str) -> bool:
    """Whether C{name} may name a stream."""
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None


def check_stream_name(name: str) -> str:
    """Give C{name} back if it may name a stream.

    @raise Refused: with L{Reason.BAD_NAME} otherwise; the text does not repeat the name.
    """
    if not valid_stream_name(name):
        raise Refused(
            Reason.BAD_NAME,
            f"a stream name is 1-{MAX_NAME} characters of A-Z a-z 0-9 . _ - "
            f"in at most {MAX_PARTS} parts joined by /",
        )
    return name
