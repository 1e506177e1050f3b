"""Statements to a L{Configuration}."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from types import MappingProxyType

from restreamer.config import values
from restreamer.config.address import parse_host_port, parse_listen, same_socket
from restreamer.config.blocks import Once, Warn, collect, served
from restreamer.config.grammar import Argument, Statement, fault
from restreamer.config.model import (
    DEFAULT_HTTP_PORT,
    Configuration,
    ConfigWarning,
    Listen,
    SourceConfig,
    StreamConfig,
    TemplateConfig,
    VodConfig,
)
from restreamer.config.stream_options import Surroundings, read_stream, read_template, segment_count
from restreamer.config.words import (
    EXAMPLE_KEYS,
    FILE,
    HTTP,
    LOG_LEVELS,
    NOT_SERVED,
    SOURCE,
    SOURCE_SCHEMES,
    VOD,
)
from restreamer.errors import ConfigError

SHORT_KEY = 16
MAX_PATTERNS = 10_000
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def build(statements: Sequence[Statement]) -> tuple[Configuration, tuple[ConfigWarning, ...]]:
    """The configuration that C{statements} mean (includes already expanded), and its warnings.

    @raise ConfigError: a word, value or combination that is not right.
    """
    warnings: list[ConfigWarning] = []
    warn = collect(warnings)
    by_word: dict[str, list[Statement]] = {}
    for statement in served(statements, FILE, warn):
        by_word.setdefault(statement.word, []).append(statement)

    def each(*words: str) -> list[Statement]:
        """Statements of these words in file order (several files: order of inclusion)."""
        wanted = frozenset(words)
        return [statement for statement in statements if statement.word in wanted]

    http, rtmp = _listeners(each("http", "rtmp"), warn)
    cluster_key = _first(by_word, "cluster_key", lambda found: _cluster_key(found, warn)) or ""
    vods = _vods(each("vod", "file"), warn)
    around = Surroundings(cluster_key=cluster_key, vods=vods, warn=warn)
    templates: dict[str, TemplateConfig] = {}
    streams: dict[str, StreamConfig] = {}
    names, prefixes = Once("template"), Once("prefix")
    for statement in each("template", "live"):
        template = read_template(statement, around)
        names.add(template.name, statement.arguments[0].place, template.name)
        if template.prefix:
            prefixes.add(template.prefix, statement.arguments[0].place, template.prefix)
        templates[template.name] = template
    names = Once("stream")
    for statement in each("stream", "ondemand"):
        stream = read_stream(statement, around, templates)
        names.add(stream.name, statement.arguments[0].place, stream.name)
        streams[stream.name] = stream
        if stream.takes_publisher and len(stream.inputs) > 1:
            warn(stream.place, "input", "beside publish:// the other inputs are not used yet")
    configuration = Configuration(
        http=http,
        rtmp=rtmp,
        cluster_key=cluster_key,
        loglevel=_first(by_word, "loglevel", _loglevel) or "info",
        state_dir=_first(by_word, "state_dir", _state_dir) or "",
        streams=MappingProxyType(streams),
        templates=MappingProxyType(templates),
        vods=MappingProxyType(vods),
        sources=_sources(each("source"), cluster_key, warn),
    )
    warnings.sort(key=lambda each: (each.path, each.line, each.column))
    return configuration, tuple(warnings)


def _first(by_word: dict[str, list[Statement]], word: str, read: Callable[[Statement], str]) -> str | None:
    found = by_word.get(word)
    return read(found[0]) if found else None


def _cluster_key(statement: Statement, warn: Warn) -> str:
    key = values.secret(statement)
    if len(key) < SHORT_KEY:
        warn(statement.place, statement.word, f"it is shorter than {SHORT_KEY} characters and can be guessed")
    if key in EXAMPLE_KEYS:
        warn(statement.place, statement.word, "it is the one of the examples, which everybody knows")
    return key


def _loglevel(statement: Statement) -> str:
    argument = values.one(statement, "loglevel LEVEL;")
    if argument.text not in LOG_LEVELS:
        raise values.wrong(statement, argument, f"one of {', '.join(LOG_LEVELS)}")
    return argument.text


def _state_dir(statement: Statement) -> str:
    return _folder(statement, values.one(statement, "state_dir PATH;"))


def _folder(statement: Statement, argument: Argument) -> str:
    """A path, made absolute from the folder of the file it is written in."""
    if not argument.text or "\x00" in argument.text or "\n" in argument.text:
        raise values.wrong(statement, argument, "the path of a folder")
    base = os.path.dirname(os.path.abspath(argument.place.path))
    return os.path.normpath(os.path.join(base, argument.text))


def _listeners(statements: Sequence[Statement], warn: Warn) -> tuple[tuple[Listen, ...], tuple[Listen, ...]]:
    listeners: dict[str, list[Listen]] = {"http": [], "rtmp": []}
    taken: list[tuple[str, Listen]] = []
    for statement in statements:
        listen = _listen(statement, warn)
        for word, other in taken:
            if same_socket(listen.key, other.key):
                where = f"{other.place.path}:{other.place.line}"
                raise fault(
                    statement.arguments[0].place,
                    str(listen),
                    f"a free address; {word} {other} has it ({where})",
                )
        taken.append((statement.word, listen))
        listeners[statement.word].append(listen)
    return tuple(listeners["http"]), tuple(listeners["rtmp"])


def _listen(statement: Statement, warn: Warn) -> Listen:
    if statement.word != "http":
        values.no_block(statement)
    argument = values.arguments(statement, 1, 1, f"{statement.word} PORT; or {statement.word} ADDRESS:PORT;")[
        0
    ]
    parsed = parse_listen(argument.text)
    if parsed is None:
        raise values.wrong(statement, argument, "PORT (1-65535), ADDRESS:PORT or [IPV6-ADDRESS]:PORT")
    api = True
    for each in served(statement.block or (), HTTP, warn):
        api = values.flag(each)
    return Listen(address=parsed[0], port=parsed[1], api=api, place=statement.place)


def _vods(statements: Sequence[Statement], warn: Warn) -> dict[str, VodConfig]:
    vods: dict[str, VodConfig] = {}
    once = Once("vod")
    for statement in statements:
        argument = values.arguments(statement, 1, 1, f"{statement.word} NAME {{ storage PATH; }}")[0]
        name = values.name(statement, argument)
        once.add(name, argument.place, name)
        storages: list[str] = []
        for each in served(statement.block or (), VOD, warn):
            values.no_block(each)
            for path in values.arguments(each, 1, 100, f"{each.word} PATH;"):
                remote = _URL.fullmatch(path.text)
                if remote is not None:
                    warn(path.place, remote[1] + "://", f"a remote storage is {NOT_SERVED}")
                else:
                    storages.append(_folder(each, path))
        if not storages:
            warn(statement.place, statement.word, "it has no storage that is served")
        vods[name] = VodConfig(name=name, storages=tuple(storages), place=statement.place)
    return vods


def _sources(statements: Sequence[Statement], cluster_key: str, warn: Warn) -> tuple[SourceConfig, ...]:
    sources: list[SourceConfig] = []
    once = Once("source")
    for statement in statements:
        source = _source(statement, cluster_key, warn)
        if source is not None:
            once.add(source.key, statement.arguments[0].place, str(source))
            sources.append(source)
    return tuple(sources)


def _source(statement: Statement, cluster_key: str, warn: Warn) -> SourceConfig | None:
    """One source; None when it asks for a transport that is not served."""
    argument = values.arguments(statement, 1, 1, "source HOST[:PORT] { … }")[0]
    url = _URL.fullmatch(argument.text)
    scheme = url[1].lower() if url else "m4f"
    address = parse_host_port(url[2] if url else argument.text, DEFAULT_HTTP_PORT)
    if address is None or scheme not in SOURCE_SCHEMES:
        raise _bad_source(statement, argument)
    found: dict[str, float] = {}
    only: list[str] | None = None
    hidden: list[str] = []
    own_key = ""
    for each in served(statement.block or (), SOURCE, warn):
        if each.word == "cluster_key":
            own_key = _cluster_key(each, warn)
        elif each.word == "only":
            only = [*(only or ()), *_patterns(each, 0)]
        elif each.word == "except":
            hidden += _patterns(each, 1)
        elif each.word == "segment_count":
            found[each.word] = segment_count(each)
        else:
            found[each.word] = values.timeout(each)
    if scheme != "m4f":
        warn(argument.place, scheme + "://", "this transport is not served yet: the source is left out")
        return None
    if not own_key and not cluster_key:
        raise values.wrong(statement, argument, "a cluster_key, in its block or at the top level")
    return SourceConfig(
        host=address[0],
        port=address[1],
        cluster_key=own_key or cluster_key,
        only=None if only is None else tuple(dict.fromkeys(only)),
        except_=tuple(dict.fromkeys(hidden)),
        place=statement.place,
        **found,  # type: ignore[arg-type]
    )


def _bad_source(statement: Statement, argument: Argument) -> ConfigError:
    return values.wrong(statement, argument, "source HOST[:PORT], an IPv6 address in brackets ([::1]:8081)")


def _patterns(statement: Statement, low: int) -> list[str]:
    values.no_block(statement)
    given = values.arguments(statement, low, MAX_PATTERNS, f"{statement.word} NAME…;")
    return [values.pattern(statement, argument) for argument in given]
