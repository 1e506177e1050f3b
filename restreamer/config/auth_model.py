"""Who may play and publish, as a configuration file says it: frozen values. Times are seconds."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from attrs import field, frozen

Network = IPv4Network | IPv6Network


@frozen(kw_only=True)
class AuthConfig:
    """Who may play and publish a stream or file.

    @ivar on_play, on_publish: whom to ask: C{http(s)://…}, C{auth://NAME}, C{securetoken://KEY}; empty:
        nobody is asked. May be secret.
    @ivar domains: hosts (with C{*.} before them: and those below) of pages that may embed the player; empty:
        all.
    @ivar max_sessions: viewers at once; 0 = no limit.
    @ivar soft_limitation: who is too many is cut after a while, not refused.
    @ivar auto_token: who comes without a token gets one; False: is refused.
    @ivar session_keys: what makes two requests one session: of C{name ip proto token user_agent}; the first
        three always.
    @ivar allowed_countries, disallowed_countries: ISO 3166-1 alpha-2, upper case: whose addresses alone may
        play, and whose may not; empty: all may.
    @ivar grace: seconds a granted session goes on without an answer of its backend after its time has run
        out; None: as long as the answer held.
    """

    on_play: str = field(default="", repr=False)
    on_publish: str = field(default="", repr=False)
    domains: tuple[str, ...] = ()
    max_sessions: int = 0
    soft_limitation: bool = False
    auto_token: bool = True
    session_keys: tuple[str, ...] = ("name", "ip", "proto", "token")
    grace: float | None = None
    allowed_countries: frozenset[str] = frozenset()
    disallowed_countries: frozenset[str] = frozenset()

    @property
    def guards(self) -> bool:
        """Whether anybody may be kept out of playing."""
        return bool(self.on_play or self.domains or self.max_sessions or self.by_country)

    @property
    def by_country(self) -> bool:
        """Whether it matters where a viewer is."""
        return bool(self.allowed_countries or self.disallowed_countries)

    def may_from(self, country: str) -> bool:
        """Whether somebody of C{country} (empty: nobody knows) may play."""
        if self.allowed_countries and country not in self.allowed_countries:
            return False
        return country not in self.disallowed_countries


NO_RULES = AuthConfig()
"""Everybody may."""


@frozen(kw_only=True)
class AuthBackendConfig:
    """One C{auth_backend} block: lists, looked at in order, then backends, asked all at once.

    @ivar name: a checked name. @ivar allow_tokens, deny_tokens: whole tokens (secret).
    @ivar allow_ips, deny_ips: networks of viewers. @ivar allow_countries, deny_countries: ISO 3166-1 alpha-2,
        upper case. @ivar allow_agents, deny_agents: parts of a User-Agent.
    @ivar backends: C{http(s)://…}; may be secret. @ivar allow_default: who nobody decided on may.
    """

    name: str
    allow_tokens: frozenset[str] = field(default=frozenset(), repr=False)
    deny_tokens: frozenset[str] = field(default=frozenset(), repr=False)
    allow_ips: tuple[Network, ...] = ()
    deny_ips: tuple[Network, ...] = ()
    allow_countries: frozenset[str] = frozenset()
    deny_countries: frozenset[str] = frozenset()
    allow_agents: tuple[str, ...] = ()
    deny_agents: tuple[str, ...] = ()
    backends: tuple[str, ...] = field(default=(), repr=False)
    allow_default: bool = False
