"""URLs: inputs (C{publish://}, C{file://VOD/PATH}, C{m4f://HOST[:PORT]/NAME} …), pushes, nodes, prefixes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from restreamer.config.address import parse_host_port
from restreamer.config.grammar import Argument, Statement
from restreamer.config.kind_options import check_sources
from restreamer.config.model import (
    DEFAULT_HTTP_PORT,
    DEFAULT_HTTPS_PORT,
    NAME_PLACEHOLDER,
    InputConfig,
    PushConfig,
)
from restreamer.config.network_urls import INPUT_SCHEMES as NETWORK_SCHEMES
from restreamer.config.network_urls import read_network_url
from restreamer.config.values import NAME_RULE, wrong
from restreamer.config.words import (
    KNOWN_NODE_SCHEMES,
    KNOWN_PUSH_SCHEMES,
    KNOWN_SCHEMES,
    NODE_PUSH_SCHEMES,
    NODE_SCHEMES,
    PUSH_SCHEMES,
    SERVED_SCHEMES,
)
from restreamer.media.names import valid_stream_name

MAX_URL = 2048
MAX_FILE_PATH = 1024
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_URL_PREFIX = re.compile(r"(?:(?:https?:)?//[A-Za-z0-9_.:\[\]-]+)?(?:/[!-~]*)?", re.IGNORECASE)
_NOT_IN_PREFIX = re.compile(r'[?#"<>\\@]')
NO_KEY = "a cluster_key at the top level, without which no link is allowed"


def scheme_of(statement: Statement, argument: Argument) -> tuple[str, str]:
    """Scheme in lower case and the rest of an input URL.

    @raise ConfigError: it is no URL, or its scheme is neither served nor known.
    """
    return _split(statement, argument, "an input", SERVED_SCHEMES, KNOWN_SCHEMES)


def _split(
    statement: Statement, argument: Argument, what: str, served: frozenset[str], known: frozenset[str]
) -> tuple[str, str]:
    match = _SCHEME.fullmatch(argument.text)
    scheme = match[1].lower() if match else ""
    if match is None or len(argument.text) > MAX_URL or scheme not in served | known:
        words = ", ".join(f"{each}://" for each in sorted(served))
        raise wrong(statement, argument, f"{what} URL with one of {words}")
    return scheme, match[2]


def read_input(
    statement: Statement,
    argument: Argument,
    *,
    in_template: bool,
    cluster_key: str,
    source_timeout: float | None,
    priority: int = 0,
    options: Mapping[str, str] = MappingProxyType({}),
) -> InputConfig | None:
    """The input that C{argument} names; None when its scheme is known but not served.

    @param in_template: whether C{%s} may stand for the stream's name. @param options: of its kind.
    @param cluster_key: the secret for C{m4f}; empty = there is none.
    @raise ConfigError: the URL is not right for its scheme.
    """
    scheme, rest = scheme_of(statement, argument)
    if scheme not in SERVED_SCHEMES:
        return None
    common: dict[str, Any] = {
        "url": argument.text,
        "source_timeout": source_timeout,
        "priority": priority,
        "place": argument.place,
    }
    if scheme in NETWORK_SCHEMES:
        url = read_network_url(statement, argument, scheme, rest)
        if NAME_PLACEHOLDER in url.path + url.query and not in_template:
            raise wrong(statement, argument, "a URL without %s, which stands for a name in templates only")
        if "sources" in options:
            check_sources(statement, argument, url.host if url.kind == "udp" else "", options["sources"])
        return InputConfig(
            scheme=url.kind,
            host=url.host,
            port=url.port,
            path=url.path,
            query=url.query,
            user=url.user,
            password=url.password,
            tls=url.tls,
            options=_options(url.options, options),
            **common,
        )
    host, port, path = "", 0, ""
    if scheme == "publish":
        if rest:
            raise wrong(statement, argument, "publish:// with nothing behind it")
    elif scheme == "file":
        host, path = _file(statement, argument, rest, in_template)
    else:
        host, port, path = _m4f(statement, argument, scheme, rest, in_template)
        if not cluster_key:
            raise wrong(statement, argument, NO_KEY)
    return InputConfig(
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        tls=scheme == "m4fs",
        cluster_key=cluster_key if scheme in NODE_PUSH_SCHEMES else "",
        **common,
    )


def _options(first: tuple[tuple[str, str], ...], written: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**dict(first), **written}.items()))


def _fill(value: str, in_template: bool) -> str:
    """C{value} as it may look for a stream, to check its form."""
    return value.replace(NAME_PLACEHOLDER, "name") if in_template else value


def _file(statement: Statement, argument: Argument, rest: str, in_template: bool) -> tuple[str, str]:
    parts = None if NAME_PLACEHOLDER in rest and not in_template else split_file(rest)
    if parts is None:
        expected = "file://VOD/PATH: the name of a vod block and a path inside it, without . and .. parts"
        raise wrong(statement, argument, expected)
    return parts


def split_file(text: str) -> tuple[str, str] | None:
    """C{VOD/PATH} as the name of a VOD and a path inside it; None when it is not right."""
    vod, _, path = text.partition("/")
    if (
        not valid_stream_name(vod)
        or len(path) > MAX_FILE_PATH
        or _CONTROL.search(path)
        or any(part in ("", ".", "..") for part in path.split("/"))
    ):
        return None
    return vod, path


def _m4f(
    statement: Statement, argument: Argument, scheme: str, rest: str, in_template: bool
) -> tuple[str, int, str]:
    authority, slash, path = rest.partition("/")
    node = parse_host_port(authority, DEFAULT_HTTPS_PORT if scheme == "m4fs" else DEFAULT_HTTP_PORT)
    form = f"{scheme}://HOST[:PORT]/NAME"
    if node is None or not slash:
        raise wrong(statement, argument, f"{form} (an IPv6 address in brackets, no user, no query)")
    if not valid_stream_name(_fill(path, in_template)):
        raise wrong(statement, argument, f"{form} with {NAME_RULE}")
    return node[0], node[1], path


def read_push(
    statement: Statement,
    argument: Argument,
    *,
    in_template: bool,
    cluster_key: str,
    options: Mapping[str, str] = MappingProxyType({}),
) -> PushConfig | str:
    """The push that C{argument} names; its scheme alone when that is known but not served.

    @param in_template: whether C{%s} may stand for the stream's name.
    @param cluster_key: the secret for C{m4f}; empty = there is none. @param options: behind the URL.
    @raise ConfigError: the URL is not right for its scheme.
    """
    scheme, rest = _split(statement, argument, "a push", PUSH_SCHEMES, KNOWN_PUSH_SCHEMES)
    if scheme in KNOWN_PUSH_SCHEMES:
        return scheme
    if scheme in NODE_PUSH_SCHEMES:
        host, port, path = _m4f(statement, argument, scheme, rest, in_template)
        if not cluster_key:
            raise wrong(statement, argument, NO_KEY)
        return PushConfig(
            url=argument.text,
            scheme=scheme,
            host=host,
            port=port,
            path=path,
            tls=scheme == "m4fs",
            cluster_key=cluster_key,
            place=argument.place,
        )
    url = read_network_url(statement, argument, scheme, rest)
    if url.kind == "udp" and not url.host:
        raise wrong(statement, argument, "udp://ADDRESS:PORT: where it is sent to")
    return PushConfig(
        url=argument.text,
        scheme=url.kind,
        host=url.host,
        port=url.port,
        path=url.path,
        query=url.query,
        user=url.user,
        password=url.password,
        tls=url.tls,
        options=_options(url.options, options),
        place=argument.place,
    )


def read_node(statement: Statement, argument: Argument, usage: str) -> tuple[str, int, bool] | str:
    """C{[SCHEME://]HOST[:PORT]} as host, port and whether it is TLS; the scheme alone when it is not served.

    @raise ConfigError: it is not right.
    """
    match = _SCHEME.fullmatch(argument.text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("m4f", argument.text)
    if scheme in KNOWN_NODE_SCHEMES:
        return scheme
    tls = NODE_SCHEMES.get(scheme)
    node = parse_host_port(
        rest.removesuffix("/") if scheme.startswith("http") else rest,
        DEFAULT_HTTPS_PORT if tls else DEFAULT_HTTP_PORT,
    )
    if node is None or tls is None:
        raise wrong(statement, argument, f"{usage}, an IPv6 address in brackets ([::1]:8081)")
    return node[0], node[1], tls


def read_public(statement: Statement, argument: Argument, port: int, tls: bool) -> str:
    """C{[http://|https://]HOST[:PORT]} of C{public} as a URL with a port and no C{/} at its end.

    @param port, tls: how links reach the same node; what is not written is taken from there.
    @raise ConfigError: it is not right.
    """
    match = _SCHEME.fullmatch(argument.text)
    scheme = match[1].lower() if match else "https" if tls else "http"
    rest = match[2].removesuffix("/") if match else argument.text
    if match is not None:
        port = DEFAULT_HTTPS_PORT if scheme == "https" else DEFAULT_HTTP_PORT
    node = parse_host_port(rest, port)
    if node is None or scheme not in ("http", "https"):
        raise wrong(statement, argument, "HOST[:PORT], http://HOST[:PORT] or https://HOST[:PORT]")
    host = f"[{node[0]}]" if ":" in node[0] else node[0]
    return f"{scheme}://{host}:{node[1]}"


def read_url_prefix(statement: Statement, argument: Argument) -> str:
    """The argument of C{url_prefix} without a C{/} at its end; C{false} is empty.

    @raise ConfigError: it is neither a URL without query nor a path.
    """
    text = argument.text
    if text == "false":
        return ""
    if not text or len(text) > MAX_URL or not _URL_PREFIX.fullmatch(text) or _NOT_IN_PREFIX.search(text):
        raise wrong(
            statement,
            argument,
            "http://HOST[:PORT][/PATH], https://…, //… or /PATH without ? and #, or false",
        )
    return text.rstrip("/")
