"""Whom the gate asks, as the configuration names them: backends, their blocks, and the country database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from restreamer.config.auth_model import AuthBackendConfig
from restreamer.config.model import Configuration
from restreamer.config.resolve_auth import used_urls
from restreamer.sessions.answers import Backend
from restreamer.sessions.backends import Backends, RuleSet
from restreamer.sessions.country import Countries
from restreamer.sessions.rules import Rules


class Authorities:
    """The backends of a node, and what it knows of addresses.

    @param utc_seconds: the time now, UTC seconds.
    """

    def __init__(self, reactor: Any, utc_seconds: Callable[[], float]) -> None:
        self._backends = Backends(reactor, utc_seconds)
        self._countries = Countries()
        self._blocks: dict[str, AuthBackendConfig] = {}

    def configure(self, configuration: Configuration) -> frozenset[str]:
        """Take what C{configuration} says; the country database is read (blocks) when its file is another.

        @return: C{auth://NAME} of blocks that are not what they were.
        """
        old, new = self._blocks, dict(configuration.auth_backends)
        self._blocks = new
        self._backends.configure(
            {name: rule_set(block) for name, block in new.items()}, used_urls(configuration)
        )
        self._countries.refresh(configuration.geoip)
        return frozenset(f"auth://{name}" for name in {*old, *new} if old.get(name) != new.get(name))

    def backend_of(self, url: str) -> Backend | None:
        """Who is asked by C{url}; None: nobody can be."""
        return self._backends.backend_of(url) if url else None

    def country_of(self, ip: str) -> str:
        """ISO 3166-1 alpha-2 of the country of C{ip}; empty when it is not known."""
        return self._countries.of(ip)

    def close(self) -> Deferred[None]:
        """Close the connections that are kept."""
        return self._backends.close()


def rule_set(block: AuthBackendConfig) -> RuleSet:
    """C{block} as what decides by it."""
    return RuleSet(
        rules=Rules(
            allow_tokens=block.allow_tokens,
            deny_tokens=block.deny_tokens,
            allow_ips=block.allow_ips,
            deny_ips=block.deny_ips,
            allow_countries=block.allow_countries,
            deny_countries=block.deny_countries,
            allow_agents=block.allow_agents,
            deny_agents=block.deny_agents,
            allow_default=block.allow_default,
        ),
        backends=block.backends,
    )
