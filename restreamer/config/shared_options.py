"""Options that streams, templates and sources have alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from restreamer.config import values
from restreamer.config.auth_model import AuthConfig
from restreamer.config.auth_options import AUTH_WORDS, read_auth
from restreamer.config.blocks import Once, Surroundings, options
from restreamer.config.dvr_options import read_cache, read_dvr
from restreamer.config.grammar import Statement
from restreamer.config.kind_options import push_kind, push_option
from restreamer.config.model import BackupConfig, PushConfig
from restreamer.config.urls import read_push, read_url_prefix, split_file
from restreamer.config.words import (
    BACKUP,
    KNOWN_PROTOCOLS,
    NOT_SERVED,
    PROTOCOL_ALIASES,
    PROTOCOLS,
    PUSH,
)

MIN_SEGMENT_COUNT, MAX_SEGMENT_COUNT = 3, 100
MIN_PRIORITY, MAX_PRIORITY = 1, 1000
MAX_PUSHES = 16
MAX_RETRY_LIMIT = 1_000_000
MAX_PREPUSH = 60


def segment_count(statement: Statement) -> int:
    """C{segment_count N;}."""
    return values.whole(statement, MIN_SEGMENT_COUNT, MAX_SEGMENT_COUNT)


def prepush(statement: Statement) -> float:
    """C{prepush SECONDS;} or C{prepush false;}."""
    found = values.timeout(statement)
    if found > MAX_PREPUSH:
        raise values.wrong(statement, statement.arguments[0], f"at most {MAX_PREPUSH} seconds, or false")
    return found


def retry_limit(statement: Statement) -> int | None:
    """C{retry_limit N;}, or C{false} for no limit."""
    if [each.text for each in statement.arguments] == ["false"]:
        return None
    return values.whole(statement, 1, MAX_RETRY_LIMIT)


def url_prefix(statement: Statement) -> str:
    """C{url_prefix URL;} or C{url_prefix false;}."""
    return read_url_prefix(statement, values.one(statement, "url_prefix URL; or url_prefix false;"))


def protocols(statement: Statement, around: Surroundings) -> frozenset[str]:
    """C{protocols WORD…;}: only these, or C{protocols -WORD…;}: all but these."""
    values.no_block(statement)
    given = values.arguments(statement, 1, 100, "protocols WORD…; or protocols -WORD…;")
    without = given[0].text.startswith("-")
    named: set[str] = set()
    for each in given:
        word = each.text.removeprefix("-").lower()
        word = PROTOCOL_ALIASES.get(word, word)
        if word not in PROTOCOLS | KNOWN_PROTOCOLS:
            raise values.wrong(statement, each, f"a protocol: {', '.join(sorted(PROTOCOLS))}")
        if each.text.startswith("-") != without:
            raise values.wrong(
                statement,
                each,
                "protocols that are all to be left out (-hls -rtmp) or all to be there (hls rtmp)",
            )
        if word in PROTOCOLS:
            named.add(word)
        elif not without:
            around.warn(each.place, word, NOT_SERVED)
    return PROTOCOLS - named if without else frozenset(named)


def backup(statement: Statement, around: Surroundings) -> BackupConfig | None:
    """C{backup VOD/PATH [key=value…];}; C{backup false;} is none."""
    values.no_block(statement)
    file, *rest = values.arguments(statement, 1, 100, "backup VOD/PATH;")
    if file.text == "false" and not rest:
        return None
    parts = split_file(file.text)
    if parts is None:
        raise values.wrong(
            statement, file, "VOD/PATH: the name of a vod block and a path inside it, without . and .. parts"
        )
    if parts[0] not in around.vods:
        known = ", ".join(sorted(around.vods)) or "none so far"
        raise values.wrong(statement, file, f"a path that begins with the name of a vod block ({known})")
    found: dict[str, Any] = {}
    for argument, key, value in options(statement, rest, BACKUP, around.warn):
        what = key + "="
        if key in ("dvr", "transcode"):
            found[key] = values.truth(statement, argument, value, what)
            if found[key] and key == "transcode":
                around.warn(argument.place, key, NOT_SERVED)
        elif key == "timeout" or value != "false":
            found[key] = values.seconds(statement, argument, value or "", what)
    return BackupConfig(path=file.text, place=statement.place, **found)


class SharedOptions:
    """Gathers these options of one block.

    @ivar found: model field to value; secrets may be among them.
    """

    def __init__(self, around: Surroundings, *, placeholder: bool) -> None:
        """@param placeholder: whether C{%s} may stand for the stream's name."""
        self.found: dict[str, Any] = {}
        self._around = around
        self._placeholder = placeholder
        self._pushes: list[Statement] = []
        self._auth: dict[str, Any] = {}

    def take(self, statement: Statement) -> None:
        """Read one of L{restreamer.config.words.SHARED_OPTIONS}; a push is kept for L{finish}."""
        word = statement.word
        if word in AUTH_WORDS:
            name, value = read_auth(statement, self._around.auth_backends, self._around.warn)
            self._auth[name] = value
        elif word == "push":
            self._pushes.append(statement)
        elif word in _SURROUNDED:
            self.found[word] = _SURROUNDED[word](statement, self._around)
        else:
            self.found[word] = _READERS[word](statement)

    def auth(self, base: AuthConfig) -> AuthConfig:
        """Who may: what was found here, else what C{base} says."""
        return evolve(base, **self._auth)

    def finish(self, cluster_key: str) -> dict[str, Any]:
        """All that was found.

        @param cluster_key: the secret of links; empty = there is none.
        """
        if self._pushes:
            self.found["push"] = tuple(self._read_pushes(cluster_key))
        return self.found

    def _read_pushes(self, cluster_key: str) -> list[PushConfig]:
        once = Once("push of a stream")
        pushes: list[PushConfig] = []
        for statement in self._pushes:
            values.no_block(statement)
            url, *rest = values.arguments(statement, 1, 100, "push URL;")
            more = {
                key: push_option(statement, argument, key, value)
                for argument, key, value in options(statement, rest, PUSH, self._around.warn)
            }
            made = read_push(
                statement, url, in_template=self._placeholder, cluster_key=cluster_key, options=more
            )
            once.add(url.text, url.place, url.text.partition("://")[0] + "://")
            if isinstance(made, str):
                self._around.warn(url.place, made + "://", f"this kind of push is {NOT_SERVED}")
                continue
            for argument in rest:
                key = argument.text.partition("=")[0]
                if key in more and made.scheme != push_kind(key):
                    of = f"{push_kind(key)}://"
                    raise values.wrong(statement, argument, f"an option of every push (this is one of {of})")
            if len(pushes) >= MAX_PUSHES:
                raise values.wrong(statement, url, f"at most {MAX_PUSHES} pushes")
            pushes.append(made)
        return pushes


_READERS: Mapping[str, Callable[[Statement], object]] = {
    "prepush": prepush,
    "retry_limit": retry_limit,
    "url_prefix": url_prefix,
}
_SURROUNDED: Mapping[str, Callable[[Statement, Surroundings], object]] = {
    "backup": backup,
    "cache": lambda statement, around: read_cache(statement, around.warn),
    "dvr": lambda statement, around: read_dvr(statement, around.dvrs, around.warn, around.spool),
    "protocols": protocols,
}
