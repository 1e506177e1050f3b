"""The statements of a block held against the vocabulary: the served come out, the rest warns or fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import field, frozen

from restreamer.config.auth_model import NO_RULES, AuthConfig
from restreamer.config.grammar import Argument, Statement, fault
from restreamer.config.model import ConfigWarning, DvrStoreConfig, Place, VodConfig
from restreamer.config.secrecy import shown_url
from restreamer.config.words import (
    AUTH_BACKEND,
    BALANCER,
    BLOCK_TITLES,
    EVENT_SINK,
    FILE,
    KNOWN,
    LIVE,
    SERVED,
    SOURCE,
    STREAM,
    TEMPLATE,
    VOD,
    allowed_instead,
    why_skipped,
)

Warn = Callable[[Place, str, str], None]
"""Takes the place, the word and the sentence of a warning."""

_REPEATED = {
    FILE: frozenset(
        [
            "auth_backend",
            "balancer",
            "dvr",
            "event_sink",
            "file",
            "forwarded_for",
            "http",
            "https",
            "live",
            "ondemand",
            "peer",
            "rtmp",
            "rtmps",
            "rtsp",
            "rtsps",
            "source",
            "stream",
            "template",
            "vod",
        ],
    ),
    STREAM: frozenset(["input", "push", "url"]),
    TEMPLATE: frozenset(["input", "push", "url"]),
    LIVE: frozenset(["input", "push", "url"]),
    VOD: frozenset(["path", "paths", "storage"]),
    SOURCE: frozenset(["except", "only", "push"]),
    BALANCER: frozenset(["peer"]),
    EVENT_SINK: frozenset(["except", "only"]),
    AUTH_BACKEND: frozenset(["allow", "backend", "deny"]),
}


@frozen(kw_only=True)
class Surroundings:
    """What blocks need to know of the rest of the file.

    @ivar cluster_key: the global one, or empty. @ivar vods: the locations a file may lie in.
    @ivar dvrs: named places for archives. @ivar spool: absolute folder of C{dvr s3://…}; empty = none.
    @ivar auth_backends: names that C{auth://} may lead to. @ivar auth: who may play and publish what says
        nothing of it.
    """

    cluster_key: str = field(repr=False)
    vods: Mapping[str, VodConfig]
    warn: Warn
    dvrs: Mapping[str, DvrStoreConfig] = field(factory=dict)
    auth_backends: frozenset[str] = frozenset()
    auth: AuthConfig = NO_RULES
    spool: str = ""


class Once:
    """Remembers first places, to refuse a second one that names the first."""

    def __init__(self, what: str) -> None:
        """@param what: what is kept once, for the message: C{"stream"}."""
        self._what = what
        self._places: dict[object, Place] = {}

    def add(self, key: object, place: Place, found: str) -> None:
        """Note C{key}.

        @raise ConfigError: it is there already.
        """
        first = self._places.setdefault(key, place)
        if first is not place:
            where = f"line {first.line}" if first.path == place.path else f"{first.path}:{first.line}"
            raise fault(place, found, f"each {self._what} once; the first is in {where}")


def collect(warnings: list[ConfigWarning]) -> Warn:
    """A L{Warn} that appends to C{warnings}."""

    def warn(place: Place, word: str, text: str) -> None:
        warnings.append(ConfigWarning(place.path, place.line, place.column, word, text))

    return warn


def served(statements: Sequence[Statement], block: str, warn: Warn) -> Iterator[Statement]:
    """The statements that are served in C{block}; known ones warn.

    @raise ConfigError: a word is unknown, stands twice where once is right, or swallowed the next line
        because a semicolon was forgotten.
    """
    once = Once("directive")
    repeated = _REPEATED.get(block, frozenset())
    for statement in statements:
        word = statement.word
        if word in SERVED[block]:
            _forgotten_semicolon(statement, block)
            if word not in repeated:
                once.add(word, statement.place, word)
            yield statement
        elif word in KNOWN[block]:
            _forgotten_semicolon(statement, block)
            warn(statement.place, word, why_skipped(block, word))
        else:
            raise fault(statement.place, shown_url(word), allowed_instead(word, block))


def _forgotten_semicolon(statement: Statement, block: str) -> None:
    """An unquoted argument that begins a later line and is a directive of this block was meant as one."""
    line = statement.place.line
    for argument in statement.arguments:
        if argument.place.line != line and not argument.quoted and argument.text in SERVED[block]:
            word = statement.word
            raise fault(
                argument.place,
                argument.text,
                f"; to end the directive '{word}' of line {statement.place.line}",
            )
        line = argument.place.line


def options(
    statement: Statement, given: Sequence[Argument], block: str, warn: Warn
) -> Iterator[tuple[Argument, str, str | None]]:
    """The served C{key=value} or C{key} options among C{given}, as (argument, key, value); known ones warn.

    @raise ConfigError: a key is unknown or stands twice.
    """
    once = Once("option")
    for argument in given:
        key, equals, value = argument.text.partition("=")
        if key in SERVED[block]:
            once.add(key, argument.place, key)
            yield argument, key, value if equals else None
        elif key in KNOWN[block]:
            warn(argument.place, key, why_skipped(block, key))
        else:
            instead = (
                allowed_instead(key, block)
                if SERVED[block]
                else f"one of {BLOCK_TITLES[block]}: {', '.join(sorted(KNOWN[block]))}"
            )
            raise fault(argument.place, shown_url(key), f"; to end '{statement.word}', or {instead}")
