"""URLs of servers and groups of other protocols: what a stream is pulled from, and what it is pushed to.

C{rtmp://HOST/APP/KEY}, C{rtsp://HOST/PATH}, C{tshttp://HOST/NAME}, C{hls://HOST/NAME.m3u8},
C{udp://[IFACE@]GROUP:PORT[/IFACE-IP]}. Several spellings of one kind come out as one scheme.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from attrs import field, frozen

from restreamer.config.address import parse_host, parse_host_port, parse_ip, parse_port, split_port
from restreamer.config.grammar import Argument, Statement
from restreamer.config.model import DEFAULT_RTMP_PORT, DEFAULT_RTMPS_PORT
from restreamer.config.values import wrong

_NOT_ALLOWED: Final = re.compile(r"[\x00-\x20\x7f-\x9f\\<>\"#]")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,15}")

#: Scheme as written: (kind, TLS, default port, options it stands for).
_PULLED: Final[Mapping[str, tuple[str, bool, int, tuple[tuple[str, str], ...]]]] = {
    "rtmp": ("rtmp", False, DEFAULT_RTMP_PORT, ()),
    "rtmps": ("rtmp", True, DEFAULT_RTMPS_PORT, ()),
    "rtsp": ("rtsp", False, 554, ()),
    "rtsp2": ("rtsp", False, 554, ()),
    "rtsp-udp": ("rtsp", False, 554, (("transport", "udp"),)),
    "rtsps": ("rtsp", True, 322, ()),
    "tshttp": ("tshttp", False, 80, ()),
    "tshttps": ("tshttp", True, 443, ()),
    "hls": ("hls", False, 80, ()),
    "hlss": ("hls", True, 443, ()),
    "http": ("", False, 80, ()),
    "https": ("", True, 443, ()),
    "udp": ("udp", False, 0, ()),
}

#: Schemes of inputs and pushes that are read here.
INPUT_SCHEMES: Final = frozenset(_PULLED)
PUSH_SCHEMES: Final = frozenset(["rtmp", "rtmps", "udp"])


@frozen(kw_only=True)
class NetworkUrl:
    """A URL taken apart; what may hold secrets is not in the repr.

    @ivar kind: C{rtmp}, C{rtsp}, C{tshttp}, C{hls} or C{udp}. @ivar tls: over TLS.
    @ivar host: lower case, IPv6 without brackets; empty for C{udp} on any address. @ivar port: TCP or UDP.
    @ivar path: with its C{/}, as written; @ivar query: without C{?}.
    @ivar user, password: percent-decoded. @ivar options: what the scheme's spelling stands for;
        C{interface} of C{udp}: a name or an address.
    """

    kind: str
    host: str
    port: int
    tls: bool = False
    path: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    options: tuple[tuple[str, str], ...] = ()


def read_network_url(statement: Statement, argument: Argument, scheme: str, rest: str) -> NetworkUrl:
    """The URL C{scheme://rest} of C{argument}.

    @raise ConfigError: it is not right for its scheme; what may be secret is not shown.
    """
    if _NOT_ALLOWED.search(rest):
        raise wrong(statement, argument, "a URL without spaces, quotes, # and \\")
    kind, tls, port, options = _PULLED[scheme]
    if kind == "udp":
        return _udp(statement, argument, rest)
    body, _, query = rest.partition("?")
    authority, slash, path = body.partition("/")
    login, _, place = authority.rpartition("@")
    user, _, password = login.partition(":")
    node = parse_host_port(place, port)
    kind = kind or _kind_of(statement, argument, path)
    forms = {"rtmp": "/APPLICATION/KEY", "rtsp": "[/PATH]", "tshttp": "/PATH", "hls": "/PATH.m3u8"}
    right = kind == "rtsp" or (bool(path) and (kind != "rtmp" or bool(path.partition("/")[2])))
    if node is None or not right:
        raise wrong(statement, argument, f"{scheme}://[USER:PASSWORD@]HOST[:PORT]{forms[kind]}")
    return NetworkUrl(
        kind=kind,
        host=node[0],
        port=node[1],
        tls=tls,
        path=slash + path,
        query=query,
        user=unquote(user),
        password=unquote(password),
        options=options,
    )


def _kind_of(statement: Statement, argument: Argument, path: str) -> str:
    """What an C{http://} URL leads to, by its last part."""
    if path.endswith(".m3u8"):
        return "hls"
    if path.endswith((".ts", "/mpegts")):
        return "tshttp"
    expected = "a path that ends with .m3u8, .ts or /mpegts (or hls:// or tshttp:// for any other)"
    raise wrong(statement, argument, expected)


def _udp(statement: Statement, argument: Argument, rest: str) -> NetworkUrl:
    """C{[IFACE@]GROUP:PORT[/IFACE-IP]}: the interface by name in front or by address behind."""
    body, _, query = rest.partition("?")
    place, _, behind = body.partition("/")
    before, at, address = place.rpartition("@")
    host_text, port_text = split_port(address)
    host = parse_host(host_text) if host_text else ""
    port = parse_port(port_text or "")
    interface = before or behind
    right = not before or _INTERFACE.fullmatch(before) is not None or parse_ip(before) is not None
    if behind and (before or parse_ip(behind) is None):
        right = False
    if host is None or port is None or not right or (not host and at and before):
        raise wrong(
            statement, argument, "udp://[INTERFACE@]ADDRESS:PORT or udp://ADDRESS:PORT/INTERFACE-ADDRESS"
        )
    options = (("interface", interface),) if interface else ()
    return NetworkUrl(kind="udp", host=host, port=port, query=query, options=options)
