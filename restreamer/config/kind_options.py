"""Options behind a URL that only some kinds of inputs and pushes have; their values travel as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from restreamer.config import values
from restreamer.config.grammar import Argument, Statement
from restreamer.media.pids import read_pids

#: Options of inputs: what the value must look like, and how that is said.
KIND_OPTIONS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "program": (re.compile(r"[1-9][0-9]{0,4}"), "the number of a program of the transport stream"),
    "sources": (
        re.compile(r"[0-9A-Fa-f.:]{2,45}(?:,[0-9A-Fa-f.:]{2,45}){0,15}"),
        "addresses, joined by commas, of who sends to the group",
    ),
    "transport": (re.compile(r"tcp|udp"), "tcp or udp"),
    "user_agent": (re.compile(r"[!-~ ]{1,200}"), "at most 200 printable ASCII characters"),
}

#: The highest number of a program (ISO/IEC 13818-1 section 2.4.4.8: 16 bits).
MAX_PROGRAM: Final = 65_535
#: Schemes that say themselves how their media travel.
_OWN_TRANSPORT: Final[Mapping[str, str]] = {"rtsp-udp": "udp", "rtsps": "tcp"}
_HTTP: Final = ("tshttp", "tshttps", "hls", "hlss", "http", "https")
#: Options that inputs of some schemes have.
_OF_SCHEMES: Final[Mapping[str, tuple[str, ...]]] = {
    "program": ("udp", *_HTTP),
    "transport": ("rtsp", "rtsp2", *_OWN_TRANSPORT),
    "user_agent": _HTTP,
}

_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")
_PID: Final = r"(?:0x[0-9A-Fa-f]{1,4}|[0-9]{1,4})"
_FOURCC: Final = r"[A-Za-z0-9.-]{4}"
#: Options of C{push udp://}, and one of C{push rtmp://}, likewise.
_PUSH_OPTIONS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "bitrate": (re.compile(r"[1-9][0-9]{1,6}"), "kbit/s, which the stream is filled up to"),
    "fourcc": (re.compile(rf"\*|{_FOURCC}(?:,{_FOURCC}){{0,15}}"), "FourCCs such as hvc1,Opus, or *"),
    "loop": (re.compile(r"true|false"), "true or false"),
    "multicast_loop": (re.compile(r"true|false"), "true or false"),
    "pids": (
        re.compile(rf"[a-z][a-z0-9]{{0,3}}:{_PID}(?:,[a-z][a-z0-9]{{0,3}}:{_PID}){{0,40}}"),
        "pairs such as pmt:100,v1:101,a1:102",
    ),
    "pnr": (re.compile(r"[1-9][0-9]{0,4}"), "a program number"),
    "provider": (_TEXT, "at most 64 characters"),
    "service": (_TEXT, "at most 64 characters"),
    "ttl": (re.compile(r"[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]"), "0 to 255"),
}


def kind_option(statement: Statement, argument: Argument, key: str, value: str) -> str:
    """The checked value of an option of an input.

    @raise ConfigError: it is not right.
    """
    form, expected = KIND_OPTIONS[key]
    if form.fullmatch(value) is None:
        raise values.wrong(statement, argument, f"{key}= with {expected}")
    if key == "program":
        _check_program(statement, argument, key, value)
    return value


def _check_program(statement: Statement, argument: Argument, key: str, value: str) -> None:
    if int(value) > MAX_PROGRAM:
        raise values.wrong(statement, argument, f"{key}= with a program number, 1 to {MAX_PROGRAM}")


def misplaced(scheme: str, key: str, value: str) -> str:
    """What C{scheme}, as it is written, expects instead of the option C{key}; empty: it is right."""
    if key == "transport" and scheme in _OWN_TRANSPORT:
        own = _OWN_TRANSPORT[scheme]
        return "" if value == own else f"no transport={value} behind {scheme}:// (rtsp:// leaves it open)"
    schemes = _OF_SCHEMES.get(key)
    if schemes is None or scheme in schemes:
        return ""
    return f"{key}= behind {', '.join(f'{each}://' for each in schemes)} only"


def check_sources(statement: Statement, argument: Argument, host: str, sources: str) -> None:
    """Whether C{sources} may be the senders of the group C{host}.

    @raise ConfigError: one is no address of a machine, or of another kind than the group; or it is no group.
    """
    try:
        group = ip_address(host)
        senders = [ip_address(each) for each in sources.split(",")]
    except ValueError:
        group, senders = None, []
    if group is None or not group.is_multicast or not senders:
        raise values.wrong(statement, argument, "sources= with addresses, for udp:// with a group")
    if any(each.version != group.version or each.is_multicast for each in senders):
        raise values.wrong(statement, argument, "sources= with machines' addresses of the group's family")


def push_kind(key: str) -> str:
    """The scheme that an option of a push belongs to."""
    return "rtmp" if key == "fourcc" else "udp"


def push_option(statement: Statement, argument: Argument, key: str, value: str | None) -> str:
    """The checked value of an option of a push; a switch without one is on.

    @raise ConfigError: it is not right.
    """
    form, expected = _PUSH_OPTIONS[key]
    if value is None and form.fullmatch("true") is not None:
        value = "true"
    if value is None or form.fullmatch(value) is None:
        raise values.wrong(statement, argument, f"{key}= with {expected}")
    if key == "pnr":
        _check_program(statement, argument, key, value)
    elif key == "pids":
        try:
            read_pids(value)
        except ValueError as error:
            raise values.wrong(statement, argument, f"pids= with {error}") from None
    return value
