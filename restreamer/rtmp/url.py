"""C{rtmp[s]://host[:port]/app/key}: where a client connects and what it asks for there (pure)."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import field, frozen

from restreamer.server_words import clean_words, secrets_of_query

DEFAULT_PORT = 1935
DEFAULT_TLS_PORT = 443


@frozen(kw_only=True)
class RtmpUrl:
    """The parts of an RTMP URL.

    @ivar app: every path part but the last.
    @ivar key: the last one, with the URL's parameters (may hold secrets). @ivar tls: C{rtmps}.
    """

    host: str
    port: int = DEFAULT_PORT
    app: str = ""
    key: str = field(default="", repr=False)
    tls: bool = False

    @property
    def tc_url(self) -> str:
        """The URL of the application, as the connect command carries it: no parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme, default = ("rtmps", DEFAULT_TLS_PORT) if self.tls else ("rtmp", DEFAULT_PORT)
        port = "" if self.port == default else f":{self.port}"
        return f"{scheme}://{host}{port}/{self.app}"


def parse_url(url: str) -> RtmpUrl:
    """Take C{url} apart.

    @raise ValueError: when it is not an RTMP URL with a host; the text does not repeat it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("rtmp", "rtmps") or not parts.hostname:
        raise ValueError("expected rtmp://host[:port]/app/key")
    tls = parts.scheme == "rtmps"
    port = parts.port or (DEFAULT_TLS_PORT if tls else DEFAULT_PORT)
    return url_of(parts.hostname, port, parts.path, parts.query, tls)


def url_of(host: str, port: int, path: str, query: str = "", tls: bool = False) -> RtmpUrl:
    """The URL of these parts. @param path: as written; @param query: without C{?}."""
    app, _, key = path.strip("/").rpartition("/")
    if query:
        key = f"{key}?{query}"
    return RtmpUrl(host=host, port=port, app=app, key=key, tls=tls)


def without_secrets(words: str, url: RtmpUrl) -> str:
    """A server's C{words} as they may be shown: servers like to repeat the stream key they refuse.

    What C{url} has as key and parameters is hidden, however it is quoted; characters that do something to a
    terminal are replaced, and the text is cut.
    """
    name, _, query = url.key.partition("?")
    return clean_words(words, {url.key, name, *secrets_of_query(query)})
