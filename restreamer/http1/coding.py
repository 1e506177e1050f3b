"""Which content codings a client takes (RFC 9110 section 12.5.3; pure)."""

from __future__ import annotations

from restreamer.http1.reply import HttpRequest


def takes_gzip(request: HttpRequest) -> bool:
    """Whether Accept-Encoding names gzip and does not exclude it."""
    for coding in request.headers.get("accept-encoding", "").split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() in ("gzip", "x-gzip"):
            quality = weight.replace(" ", "").lower()
            return not (quality.startswith("q=0") and not quality[3:].strip(".0"))
    return False
