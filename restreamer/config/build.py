"""Statements to a L{Configuration}."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from attrs import evolve

from restreamer.config import values
from restreamer.config.address import parse_listen, same_socket
from restreamer.config.auth_model import AuthConfig
from restreamer.config.auth_options import (
    AUTH_WORDS,
    read_auth,
    read_auth_backends,
    read_auth_token,
    read_forwarded_for,
    warn_of_countries,
)
from restreamer.config.blocks import Once, Surroundings, Warn, collect, served
from restreamer.config.cluster_options import read_balancers, read_cluster_key, read_peers, read_sources
from restreamer.config.dvr_options import SPOOL, check_apart, read_stores
from restreamer.config.grammar import Statement, fault
from restreamer.config.model import (
    AUTO,
    DEFAULT_DRAIN_TIME,
    MAX_WORKERS,
    BalancerConfig,
    Configuration,
    ConfigWarning,
    JournalConfig,
    Listen,
    SourceConfig,
    StreamConfig,
    TemplateConfig,
    VodConfig,
)
from restreamer.config.stream_options import read_stream, read_template
from restreamer.config.viewing_options import read_event_sinks, read_journal, read_login
from restreamer.config.words import (
    CERTIFICATES,
    FILE,
    HTTP,
    LISTENERS,
    LOG_LEVELS,
    NOT_SERVED,
    TLS_LISTENERS,
    VOD,
)

_T = TypeVar("_T")
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

    listeners = _listeners(each(*LISTENERS), warn)
    certificate, certificate_key, ca = (_first(by_word, word, pem_file) or "" for word in CERTIFICATES)
    _certified(each(*TLS_LISTENERS), certificate, by_word.get("ssl_certificate_key", ()))
    cluster_key = _first(by_word, "cluster_key", lambda found: read_cluster_key(found, warn)) or ""
    geoip = _first(by_word, "geoip", pem_file) or ""
    drain_time = _first(by_word, "drain_time", _drain_time)
    backends = read_auth_backends(each("auth_backend"), bool(geoip), warn)
    around = Surroundings(
        cluster_key=cluster_key,
        vods={},
        warn=warn,
        auth_backends=frozenset(backends),
        auth=AuthConfig(auto_token=not _first(by_word, "no_auto_token", values.flag)),
    )
    vods = _vods(each("vod", "file"), around)
    dvrs = read_stores(each("dvr"), warn)
    state_dir = _first(by_word, "state_dir", _folder) or ""
    spool = _first(by_word, "dvr_spool", _folder) or (os.path.join(state_dir, SPOOL) if state_dir else "")
    around = evolve(around, vods=vods, dvrs=dvrs, spool=spool)
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
    peers = read_peers(each("peer"), around)
    balancers = read_balancers(each("balancer"), peers, warn)
    prefixed = [template.prefix for template in templates.values() if template.prefix]
    _apart(balancers, [*streams, *vods, *(f"{prefix}/…" for prefix in prefixed)])
    configuration = Configuration(
        **listeners,
        ssl_certificate=certificate,
        ssl_certificate_key=certificate_key or certificate,
        ssl_ca=ca,
        cluster_key=cluster_key,
        loglevel=_first(by_word, "loglevel", _loglevel) or "info",
        state_dir=state_dir,
        streams=MappingProxyType(streams),
        templates=MappingProxyType(templates),
        vods=MappingProxyType(vods),
        sources=read_sources(each("source"), around),
        peers=peers,
        balancers=MappingProxyType(balancers),
        dvrs=MappingProxyType(dict(dvrs)),
        view_auth=_first(by_word, "view_auth", read_login),
        edit_auth=_first(by_word, "edit_auth", read_login),
        session_log=_first(by_word, "session_log", read_journal) or JournalConfig(),
        event_sinks=read_event_sinks(each("event_sink"), warn),
        auth_backends=MappingProxyType(backends),
        geoip=geoip,
        forwarded_for=read_forwarded_for(each("forwarded_for"), warn),
        workers=_first(by_word, "workers", _workers) or 0,
        drain_time=DEFAULT_DRAIN_TIME if drain_time is None else drain_time,
        auth_token=_first(by_word, "auth_token", read_auth_token) or "",
    )
    blocks: list[StreamConfig | SourceConfig] = [
        *streams.values(),
        *[each.stream for each in templates.values()],
        *configuration.sources,
    ]
    if not geoip:
        warn_of_countries(statements, warn)
    check_apart([*dvrs.values(), *[each.dvr for each in blocks], *[each.cache for each in blocks]])
    warnings.sort(key=lambda each: (each.path, each.line, each.column))
    return configuration, tuple(warnings)


def _first(by_word: dict[str, list[Statement]], word: str, read: Callable[[Statement], _T]) -> _T | None:
    found = by_word.get(word)
    return read(found[0]) if found else None


def _drain_time(statement: Statement) -> float:
    return float(values.whole_seconds(statement, 0, 86_400))


def _workers(statement: Statement) -> int:
    argument = values.one(statement, "workers COUNT|auto;")
    if argument.text == "auto":
        return AUTO
    count = int(argument.text) if argument.text.isascii() and argument.text.isdigit() else MAX_WORKERS + 1
    if count > MAX_WORKERS:
        raise values.wrong(statement, argument, f"auto, or a number up to {MAX_WORKERS}")
    return count


def _loglevel(statement: Statement) -> str:
    argument = values.one(statement, "loglevel LEVEL;")
    if argument.text not in LOG_LEVELS:
        raise values.wrong(statement, argument, f"one of {', '.join(LOG_LEVELS)}")
    return argument.text


def _folder(statement: Statement) -> str:
    return values.path(statement, values.one(statement, f"{statement.word} PATH;"), "folder")


def _apart(balancers: Mapping[str, BalancerConfig], names: Sequence[str]) -> None:
    """Check that no balancer stands before C{names} of streams and the like: nobody could reach them."""
    for balancer in balancers.values():
        for name in names:
            if name.startswith(balancer.name + "/") or name == balancer.name + "/…":
                raise fault(balancer.place, balancer.name, f"a name that no other begins with ({name} does)")


def pem_file(statement: Statement) -> str:
    """The absolute path of C{ssl_certificate FILE;} and the like, and of C{geoip FILE;}."""
    return values.path(statement, values.one(statement, f"{statement.word} FILE;"), "file")


def _certified(secure: Sequence[Statement], certificate: str, keys: Sequence[Statement]) -> None:
    """Check that there is a certificate where one is needed."""
    if not certificate:
        for statement in secure:
            usage = f"ssl_certificate FILE; at the top level: there is no {statement.word} without it"
            raise statement.error(usage)
        for statement in keys:
            raise statement.error("ssl_certificate FILE; beside it")


def _listeners(statements: Sequence[Statement], warn: Warn) -> dict[str, tuple[Listen, ...]]:
    listeners: dict[str, list[Listen]] = {word: [] for word in LISTENERS}
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
    return {word: tuple(found) for word, found in listeners.items()}


def _listen(statement: Statement, warn: Warn) -> Listen:
    if statement.word not in ("http", "https"):
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


def _vods(statements: Sequence[Statement], around: Surroundings) -> dict[str, VodConfig]:
    vods: dict[str, VodConfig] = {}
    once = Once("vod")
    warn = around.warn
    for statement in statements:
        argument = values.arguments(statement, 1, 1, f"{statement.word} NAME {{ storage PATH; }}")[0]
        name = values.name(statement, argument)
        once.add(name, argument.place, name)
        storages: list[str] = []
        auth: dict[str, Any] = {}
        for each in served(statement.block or (), VOD, warn):
            if each.word in AUTH_WORDS:
                field, value = read_auth(each, around.auth_backends, warn)
                auth[field] = value
                continue
            values.no_block(each)
            for path in values.arguments(each, 1, 100, f"{each.word} PATH;"):
                remote = _URL.fullmatch(path.text)
                if remote is not None:
                    warn(path.place, remote[1] + "://", f"a remote storage is {NOT_SERVED}")
                else:
                    storages.append(values.path(each, path, "folder"))
        if not storages:
            warn(statement.place, statement.word, "it has no storage that is served")
        vods[name] = VodConfig(
            name=name, storages=tuple(storages), auth=evolve(around.auth, **auth), place=statement.place
        )
    return vods
