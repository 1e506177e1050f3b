"""Facts about peer addresses."""

from __future__ import annotations


def is_loopback(host: str) -> bool:
    """Whether a peer address is this machine's own.

    Limits per address leave such peers out: behind a proxy on the same machine every viewer has that address.
    """
    return host.startswith(("127.", "::ffff:127.")) or host in ("::1", "local", "")
