"""Basic and Digest authentication, as a server asks for it and as a client answers (RFC 7617, RFC 7616).

Digest with MD5, the one algorithm that every RTSP client knows; what is compared are bytes, in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from attrs import define, field

from restreamer.rtsp.headers import parse_parameters

REALM: Final = "Restreamer"
#: Seconds a nonce is good for.
NONCE_SECONDS: Final = 60.0
_MAX_HEADER: Final = 2048


@define(eq=False)
class Challenge:
    """What one connection is asked for a password with.

    @ivar random: gives that many random bytes.
    """

    random: Callable[[int], bytes]
    _nonce: str = field(default="", init=False, repr=False)
    _made: float = field(default=0.0, init=False)

    def ask(self, now: float) -> tuple[str, str]:
        """The values of WWW-Authenticate, with a fresh nonce: Digest is asked for before Basic."""
        self._nonce = self.random(16).hex()
        self._made = now
        digest = f'Digest realm="{REALM}", nonce="{self._nonce}", algorithm=MD5'
        return digest, f'Basic realm="{REALM}"'

    def proves(self, header: str, method: str, url: str, password: str, now: float) -> bool:
        """Whether an Authorization header shows that the peer knows C{password}; the user's name is free.

        @param url: of the request: Digest must speak of it or of a part of it.
        """
        if len(header) > _MAX_HEADER:
            return False
        scheme, _, rest = header.strip().partition(" ")
        if scheme.lower() == "basic":
            return self._basic(rest.strip(), password)
        if scheme.lower() == "digest":
            return self._digest(parse_parameters(rest), method, url, password, now)
        return False

    @staticmethod
    def _basic(text: str, password: str) -> bool:
        try:
            given = base64.b64decode(text, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(given, password.encode("utf-8", "surrogateescape"))

    def _digest(self, told: dict[str, str], method: str, url: str, password: str, now: float) -> bool:
        if not self._nonce or told.get("nonce") != self._nonce or now - self._made > NONCE_SECONDS:
            return False
        uri = told.get("uri", "")
        if told.get("realm") != REALM or told.get("algorithm", "MD5").upper() != "MD5":
            return False
        if not _about(uri, url):
            return False
        wanted = digest_response(told.get("username", ""), REALM, password, self._nonce, method, uri)
        given = told.get("response", "").lower()
        return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogateescape"))


def _about(uri: str, url: str) -> bool:
    """Whether a digest's URI names what the request asks for; some clients leave the control out."""
    return bool(uri) and (uri == url or url.startswith(uri.rstrip("/")) or url.endswith(uri))


def digest_response(user: str, realm: str, password: str, nonce: str, method: str, uri: str) -> str:
    """The response without quality of protection (RFC 2069, RFC 7616 section 3.4.1)."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()

    return md5(f"{md5(f'{user}:{realm}:{password}')}:{nonce}:{md5(f'{method}:{uri}')}")


@define(eq=False)
class Credentials:
    """A client's answer to challenges.

    @ivar user, password: as the URL tells them.
    """

    user: str = field(repr=False)
    password: str = field(repr=False)
    _realm: str = field(default="", init=False)
    _nonce: str = field(default="", init=False, repr=False)
    _basic: bool = field(default=False, init=False)

    def challenged(self, header: str) -> bool:
        """Take a WWW-Authenticate; False: it asks for something that cannot be answered.

        A Digest that is known already and refused is not answered again but with another nonce.
        """
        scheme, _, rest = header.strip().partition(" ")
        told = parse_parameters(rest[:_MAX_HEADER])
        if scheme.lower() == "digest" and told.get("algorithm", "MD5").upper() == "MD5":
            nonce = told.get("nonce", "")
            fresh = bool(nonce) and nonce != self._nonce
            self._realm, self._nonce, self._basic = told.get("realm", ""), nonce, False
            return fresh
        if scheme.lower() == "basic":
            fresh = not self._basic
            self._basic = True
            return fresh
        return False

    def header(self, method: str, url: str) -> str:
        """The Authorization of a request; empty before a challenge."""
        if self._basic:
            pair = f"{self.user}:{self.password}".encode("utf-8", "surrogateescape")
            return f"Basic {base64.b64encode(pair).decode()}"
        if not self._nonce:
            return ""
        response = digest_response(self.user, self._realm, self.password, self._nonce, method, url)
        name, realm = _quoted(self.user), _quoted(self._realm)
        return (
            f'Digest username="{name}", realm="{realm}", nonce="{_quoted(self._nonce)}", uri="{url}", '
            f'response="{response}", algorithm=MD5'
        )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
