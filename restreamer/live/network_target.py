"""A place on the network that a stream comes from or goes to by another protocol (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from restreamer.server_words import clean_words, secrets_of_query


@frozen(kw_only=True)
class NetworkTarget:
    """A URL taken apart. What may hold secrets is not in the repr.

    @ivar shown: the URL without secrets, for logs and the API. @ivar scheme: in lower case.
    @ivar host: lower case, IPv6 without brackets; @ivar port: of TCP or UDP; @ivar tls: over TLS.
    @ivar path: with its leading C{/}, as written; @ivar query: without C{?}.
    @ivar user, password: of the URL, percent-decoded. @ivar options: C{key=value} behind the URL.
    """

    shown: str
    scheme: str
    host: str
    port: int
    path: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tls: bool = False
    options: Mapping[str, str] = field(factory=dict, repr=False)

    def cleaned(self, words: str) -> str:
        """A server's C{words} as they may be shown: without what of this URL may be a secret."""
        return clean_words(words, {self.user, self.password, *secrets_of_query(self.query)})
