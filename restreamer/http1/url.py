"""Where an HTTP request goes (RFC 3986; pure)."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final
from urllib.parse import urljoin, urlsplit

from attrs import field, frozen

from restreamer.errors import RemoteProtocolError

#: Characters a URL from outside may have.
MAX_URL: Final = 4096
_PORTS: Final = {"http": 80, "https": 443}
_TEXT: Final = re.compile(r"[\x21-\x7e]+")
_HOST: Final = re.compile(r"[0-9A-Za-z._:%-]{1,253}")


@frozen(kw_only=True)
class HttpUrl:
    """An absolute URL of HTTP. What may hold secrets is not in the repr.

    @ivar host: lower case, IPv6 without brackets. @ivar target: path and query, as they are sent.
    @ivar login: C{user:password}, decoded, or empty.
    """

    host: str
    port: int
    tls: bool = False
    target: str = field(default="/", repr=False)
    login: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        """Host and port as the Host field has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The URL without its login; it may hold other secrets."""
        return f"http{'s' if self.tls else ''}://{self.authority}{self.target}"

    def join(self, reference: str) -> HttpUrl:
        """What C{reference}, met in an answer, leads to; the login stays with its own host.

        @raise RemoteProtocolError: it is no URL of HTTP: other schemes are never followed; or it leads out of
            TLS.
        """
        if len(reference) > MAX_URL or not _TEXT.fullmatch(reference):
            raise RemoteProtocolError("URL", "a reference that is no URL")
        try:
            parts = urlsplit(urljoin(self.text, reference))
            port = parts.port
            host = (parts.hostname or "").lower()
        except ValueError:
            raise RemoteProtocolError("URL", "a reference that is no URL") from None
        default = _PORTS.get(parts.scheme)
        if default is None or not _HOST.fullmatch(host) or port == 0:
            raise RemoteProtocolError("URL", "a reference that is no URL of HTTP")
        if self.tls and parts.scheme != "https":
            raise RemoteProtocolError("URL", "a reference that leads out of TLS")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        other = HttpUrl(host=host, port=port or default, tls=parts.scheme == "https", target=target)
        mine = (other.host, other.port, other.tls) == (self.host, self.port, self.tls)
        return HttpUrl(
            host=other.host, port=other.port, tls=other.tls, target=target, login=self.login if mine else ""
        )


def get_request(url: HttpUrl, user_agent: str, begin: int = 0, size: int = 0) -> bytes:
    """The head of a GET that wants one plain answer and then the end of the connection.

    @param begin, size: of a byte range; C{size} 0 for all of it.
    """
    lines = [
        f"GET {url.target} HTTP/1.1",
        f"Host: {url.authority}",
        f"User-Agent: {user_agent}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    if size:
        lines.append(f"Range: bytes={begin}-{begin + size - 1}")
    if url.login:
        lines.append(f"Authorization: Basic {b64encode(url.login.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
