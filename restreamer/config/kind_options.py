"""Options behind a URL that only some kinds of inputs and pushes have; their values travel as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from restreamer.config import values
from restreamer.config.grammar import Argument, Statement

#: Options of inputs: what the value must look like, and how that is said.
KIND_OPTIONS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "program": (re.compile(r"[1-9][0-9]{0,4}"), "the number of a program of the transport stream"),
    "transport": (re.compile(r"tcp|udp"), "tcp or udp"),
    "user_agent": (re.compile(r"[!-~ ]{1,200}"), "at most 200 printable ASCII characters"),
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
    return value


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
    return value
