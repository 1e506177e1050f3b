"""Which rules a name has: who may play and publish it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import evolve

from restreamer.config.auth_model import AuthConfig
from restreamer.config.model import Configuration
from restreamer.config.resolve import resolve_stream

#: Names whose rules are remembered.
_MAX_NAMES: Final = 10_000


def own_auth(configuration: Configuration, name: str) -> AuthConfig | None:
    """The rules that C{name} has by its stream, by the template that takes it or by the VOD it lies in.

    @param name: of a stream or file. @return: None: there is none of them.
    """
    stream = configuration.streams.get(name) or resolve_stream(configuration, name)
    if stream is not None:
        return stream.auth
    parts = name.split("/")
    for count in range(len(parts), 0, -1):
        vod = configuration.vods.get("/".join(parts[:count]))
        if vod is not None:
            return vod.auth
    return None


class AuthRules:
    """The rules of names under one configuration, remembered.

    A configured stream has its own. Another name has those of the source that feeds it, else of the template
    that takes it or the VOD it lies in. A name that nothing feeds may have an archive here: it has the
    rules of the first source that keeps anybody out. Who may publish is said by streams and templates alone.

    @param source_of: C{HOST:PORT} of the source that feeds a name now; None: none does.
    """

    def __init__(self, configuration: Configuration, source_of: Callable[[str], str | None]) -> None:
        self.configuration = configuration
        self._source_of = source_of
        self._own: dict[str, AuthConfig | None] = {}
        self._merged: dict[tuple[str, str], AuthConfig] = {}
        self._sources = {str(each): each.auth for each in configuration.sources}
        self._strict = next((each for each in self._sources.values() if each.guards), None)

    def of(self, name: str) -> AuthConfig | None:
        """The rules of C{name} now, in constant time if it was asked about before; None: it has none."""
        if name in self._own:
            own = self._own[name]
        else:
            if len(self._own) >= _MAX_NAMES:
                self._own.clear()
            own = self._own[name] = own_auth(self.configuration, name)
        if not self._sources or name in self.configuration.streams:
            return own
        address = self._source_of(name)
        if address is None or address not in self._sources:
            return own if own is not None else self._strict
        if own is None or not own.on_publish:
            return self._sources[address]
        return self._published(address, own.on_publish)

    def _published(self, address: str, on_publish: str) -> AuthConfig:
        """The rules of a source, and who may publish."""
        found = self._merged.get((address, on_publish))
        if found is None:
            found = evolve(self._sources[address], on_publish=on_publish)
            self._merged[address, on_publish] = found
        return found


def used_urls(configuration: Configuration) -> frozenset[str]:
    """All URLs of backends that C{configuration} names for streams and files; secrets are among them."""
    blocks = [
        *(each.auth for each in configuration.streams.values()),
        *(each.stream.auth for each in configuration.templates.values()),
        *(each.auth for each in configuration.sources),
        *(each.auth for each in configuration.vods.values()),
    ]
    urls = (url for auth in blocks for url in (auth.on_play, auth.on_publish))
    return frozenset(url for url in urls if url)
