"""Input URLs: C{publish://}, C{file://VOD/PATH}, C{m4f://HOST[:PORT]/NAME}, and known ones not served."""

from __future__ import annotations

import re

from restreamer.config.address import parse_host_port
from restreamer.config.grammar import Argument, Statement
from restreamer.config.model import DEFAULT_HTTP_PORT, NAME_PLACEHOLDER, InputConfig
from restreamer.config.values import NAME_RULE, wrong
from restreamer.config.words import KNOWN_SCHEMES, SERVED_SCHEMES
from restreamer.media.names import valid_stream_name

MAX_URL = 2048
MAX_FILE_PATH = 1024
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")


def scheme_of(statement: Statement, argument: Argument) -> tuple[str, str]:
    """Scheme in lower case and the rest of an input URL.

    @raise ConfigError: it is no URL, or its scheme is neither served nor known.
    """
    served = ", ".join(f"{each}://" for each in sorted(SERVED_SCHEMES))
    match = _SCHEME.fullmatch(argument.text)
    if match is None or len(argument.text) > MAX_URL:
        raise wrong(statement, argument, f"an input URL with one of {served}")
    scheme = match[1].lower()
    if scheme not in SERVED_SCHEMES | KNOWN_SCHEMES:
        raise wrong(statement, argument, f"an input URL with one of {served}")
    return scheme, match[2]


def read_input(
    statement: Statement,
    argument: Argument,
    *,
    in_template: bool,
    cluster_key: str,
    source_timeout: float | None,
) -> InputConfig | None:
    """The input that C{argument} names; None when its scheme is known but not served.

    @param in_template: whether C{%s} may stand for the stream's name.
    @param cluster_key: the secret for C{m4f}; empty = there is none.
    @raise ConfigError: the URL is not right for its scheme.
    """
    scheme, rest = scheme_of(statement, argument)
    if scheme not in SERVED_SCHEMES:
        return None
    host, port, path = "", 0, ""
    if scheme == "publish":
        if rest:
            raise wrong(statement, argument, "publish:// with nothing behind it")
    elif scheme == "file":
        host, path = _file(statement, argument, rest, in_template)
    else:
        host, port, path = _m4f(statement, argument, rest, in_template)
        if not cluster_key:
            raise wrong(
                statement, argument, "a cluster_key at the top level, without which no link is allowed"
            )
    return InputConfig(
        url=argument.text,
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        source_timeout=source_timeout,
        cluster_key=cluster_key if scheme == "m4f" else "",
        place=argument.place,
    )


def _fill(value: str, in_template: bool) -> str:
    """C{value} as it may look for a stream, to check its form."""
    return value.replace(NAME_PLACEHOLDER, "name") if in_template else value


def _file(statement: Statement, argument: Argument, rest: str, in_template: bool) -> tuple[str, str]:
    vod, _, path = rest.partition("/")
    parts = path.split("/")
    if (
        not valid_stream_name(vod)
        or len(path) > MAX_FILE_PATH
        or _CONTROL.search(path)
        or any(part in ("", ".", "..") for part in parts)
        or (NAME_PLACEHOLDER in path and not in_template)
    ):
        expected = "file://VOD/PATH: the name of a vod block and a path inside it, without . and .. parts"
        raise wrong(statement, argument, expected)
    return vod, path


def _m4f(statement: Statement, argument: Argument, rest: str, in_template: bool) -> tuple[str, int, str]:
    authority, slash, path = rest.partition("/")
    node = parse_host_port(authority, DEFAULT_HTTP_PORT)
    if node is None or not slash:
        raise wrong(
            statement, argument, "m4f://HOST[:PORT]/NAME (an IPv6 address in brackets, no user, no query)"
        )
    if not valid_stream_name(_fill(path, in_template)):
        raise wrong(statement, argument, f"m4f://HOST[:PORT]/NAME with {NAME_RULE}")
    return node[0], node[1], path
