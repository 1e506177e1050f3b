"""C{rtmp://host[:port]/app/key}: where a client connects and what it asks for there (pure)."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import field, frozen

DEFAULT_PORT = 1935


@frozen(kw_only=True)
class RtmpUrl:
    """The parts of an RTMP URL.

    @ivar app: every path part but the last.
    @ivar key: the last one, with the URL's parameters (may hold secrets).
    """

    host: str
    port: int = DEFAULT_PORT
    app: str = ""
    key: str = field(default="", repr=False)

    @property
    def tc_url(self) -> str:
        """The URL of the application, as the connect command carries it: no parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        return f"rtmp://{host}{port}/{self.app}"


def parse_url(url: str) -> RtmpUrl:
    """Take C{url} apart.

    @raise ValueError: when it is not an RTMP URL with a host; the text does not repeat it.
    """
    parts = urlsplit(url)
    if parts.scheme != "rtmp" or not parts.hostname:
        raise ValueError("expected rtmp://host[:port]/app/key")
    app, _, key = parts.path.strip("/").rpartition("/")
    if parts.query:
        key = f"{key}?{parts.query}"
    return RtmpUrl(host=parts.hostname, port=parts.port or DEFAULT_PORT, app=app, key=key)
