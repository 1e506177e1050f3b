"""The backends of a node: one for each URL, however many streams ask it."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import Agent, HTTPConnectionPool, _HTTP11ClientFactory
from typing_extensions import override

from restreamer.sessions.answers import Backend
from restreamer.sessions.http_backend import DEADLINE, MAX_UNDER_WAY, HttpBackend
from restreamer.sessions.reading import MAX_BODY
from restreamer.sessions.rules import RuleBackend, Rules
from restreamer.sessions.securetoken import SecureToken

#: Bytes of the head of an answer.
MAX_HEAD: Final = 64 * 1024


class _BoundedClient(HTTP11ClientProtocol):
    """Cuts a backend off whose answer is longer than any that is read: the head alone may have no end."""

    _received = 0

    @override
    def request(self, request: Any) -> Any:
        self._received = 0
        return super().request(request)

    @override
    def dataReceived(self, bytes: builtins.bytes) -> None:
        self._received += len(bytes)
        if self._received > MAX_HEAD + MAX_BODY:
            assert self.transport is not None
            self.transport.abortConnection()  # type: ignore[attr-defined]
        else:
            super().dataReceived(bytes)


class _QuietFactory(_HTTP11ClientFactory):
    """Says nothing of each connection."""

    noisy = False

    @override
    def buildProtocol(self, addr: object) -> HTTP11ClientProtocol:
        return _BoundedClient(self._quiescentCallback)


@frozen(kw_only=True)
class RuleSet:
    """One C{auth_backend} block. @ivar backends: URLs, asked all at once."""

    rules: Rules
    backends: tuple[str, ...] = ()


class Backends:
    """Makes and keeps them."""

    def __init__(self, reactor: Any, utc_seconds: Callable[[], float]) -> None:
        self._reactor = reactor
        self._utc_seconds = utc_seconds
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = MAX_UNDER_WAY
        self._pool.retryAutomatically = True
        self._pool._factory = _QuietFactory
        self._agent = Agent(reactor, connectTimeout=DEADLINE, pool=self._pool)
        self._made: dict[str, Backend] = {}
        self._rules: Mapping[str, RuleSet] = {}

    def configure(self, rules: Mapping[str, RuleSet], used: Collection[str]) -> None:
        """Take the blocks of a configuration; backends whose URL is not in C{used}, and whose block changed,
        are forgotten."""
        changed = self._rules != rules
        self._rules = dict(rules)
        wanted = {*used, *(url for each in rules.values() for url in each.backends)}
        for url in list(self._made):
            if url not in wanted or (changed and url.startswith("auth://")):
                del self._made[url]

    def backend_of(self, url: str) -> Backend | None:
        """The backend of C{url}: http, https, C{auth://NAME}, C{securetoken://KEY}; None: there is none."""
        found = self._made.get(url)
        if found is None:
            found = self._make(url)
            if found is not None:
                self._made[url] = found
        return found

    def _make(self, url: str) -> Backend | None:
        scheme, _, rest = url.partition("://")
        if scheme in ("http", "https"):
            return HttpBackend(url, self._agent, self._reactor)
        if scheme == "securetoken":
            key, _, query = rest.partition("?")
            unchecked = parse_qs(query).get("no_check_ip", [""])[0] == "true"
            return SecureToken(key, self._utc_seconds, check_ip=not unchecked)
        if scheme == "auth" and (block := self._rules.get(rest)) is not None:
            asked = [self.backend_of(each) for each in block.backends if not each.startswith("auth://")]
            return RuleBackend(block.rules, [each for each in asked if each is not None])
        return None

    def close(self) -> Deferred[None]:
        """Close the connections that are kept."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed
