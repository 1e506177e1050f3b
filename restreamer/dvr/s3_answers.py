"""What an object store may send us: no answer is longer, and none takes longer, than it may.

botocore reads whatever comes, for as long as something comes: this stands between it and its connections.
"""

from __future__ import annotations

import time
from typing import Any

#: Bytes of an answer that is no object at most: a thousand names with all that is said of them are 1 MB.
MAX_ANSWER = 8 * 1024 * 1024
#: An answer may take so long, seconds, and longer the more bytes it may have: so many a second.
ANSWER_SECONDS = 30.0
LEAST_RATE = 50_000
_PIECE = 64 * 1024


class AnswerError(Exception):
    """An answer is too long, or takes too long."""


def read_at_most(raw: Any, most: int) -> bytes:
    """The body of an answer, as far as C{most} bytes.

    @param raw: of urllib3. @raise AnswerError: it takes too long.
    """
    until = time.monotonic() + ANSWER_SECONDS + most / LEAST_RATE
    read = getattr(raw, "read1", raw.read)
    found = bytearray()
    while len(found) < most and (piece := read(min(_PIECE, most - len(found)))):
        found += piece
        if time.monotonic() > until:
            raise AnswerError("an answer took too long")
    return bytes(found)


class BoundedSession:
    """The connections of a botocore client: all that is no object is read here.

    @param session: a C{botocore.httpsession.URLLib3Session}. @param wrong: makes the error that botocore
        takes for one of the network.
    """

    def __init__(self, session: Any, wrong: Any) -> None:
        self._session = session
        self._wrong = wrong

    def send(self, request: Any) -> Any:
        """Send a request. @return: the answer, its body read unless it is an object."""
        streamed = request.stream_output
        request.stream_output = True
        try:
            answer = self._session.send(request)
        finally:
            request.stream_output = streamed
        if not streamed or answer.status_code >= 300:
            try:
                content = read_at_most(answer.raw, MAX_ANSWER + 1)
                if len(content) > MAX_ANSWER:
                    raise AnswerError("an answer is too long")
                if b"<!ENTITY" in content:
                    # No S3 store says that, and what it grows to is not bounded.
                    raise AnswerError("an answer has entities")
            except Exception as error:
                answer.raw.close()
                raise self._wrong(error=error) from None
            answer._content = content
        return answer

    def close(self) -> None:
        """Close all connections."""
        self._session.close()
