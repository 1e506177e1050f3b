"""C{view_auth}, C{edit_auth}, C{session_log} and C{event_sink}: who sees viewers, and where it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from restreamer.config import values
from restreamer.config.blocks import Once, Warn, served
from restreamer.config.grammar import Argument, Statement
from restreamer.config.model import EventCondition, EventSinkConfig, JournalConfig, LoginConfig
from restreamer.config.words import EVENT_SINK

#: Characters of a password of the API, at least.
LEAST_PASSWORD: Final = 8
_JOURNAL: Final = re.compile(r"sqlite:///.+|postgres(?:ql)?://[^/]+/.+")
_SINK: Final = re.compile(r"https?://[^/\s]+\S*|jsonlog:///.+")
_CONDITION: Final = re.compile(r"([a-z_]{1,64})=(.+)")
_PERIOD: Final = re.compile(r"([1-9][0-9]{0,5})([hdw])")
_SECONDS: Final = {"h": 3600, "d": 86400, "w": 604800}


def read_login(statement: Statement) -> LoginConfig:
    """C{view_auth USER PASSWORD;} and C{edit_auth USER PASSWORD;}."""
    values.no_block(statement)
    user, password = values.arguments(statement, 2, 2, f"{statement.word} USER PASSWORD;")
    if ":" in user.text or not user.text:
        raise values.wrong(statement, user, "a user's name without a colon")
    if len(password.text) < LEAST_PASSWORD:
        raise values.wrong(statement, password, f"a password of at least {LEAST_PASSWORD} characters")
    return LoginConfig(user=user.text, password=password.text)


def read_journal(statement: Statement) -> JournalConfig:
    """C{session_log URL [PERIOD];} or C{session_log off;}."""
    values.no_block(statement)
    usage = "session_log sqlite:///PATH [30d]; or session_log postgresql://USER:PASSWORD@HOST/DATABASE [30d];"
    url, *rest = values.arguments(statement, 1, 2, usage)
    if url.text == "off" and not rest:
        return JournalConfig(off=True)
    if _JOURNAL.fullmatch(url.text) is None:
        raise values.wrong(statement, url, "sqlite:///PATH, postgresql://USER:PASSWORD@HOST/DATABASE, or off")
    return JournalConfig(url=url.text, depth=_period(statement, rest[0]) if rest else JournalConfig().depth)


def read_event_sinks(statements: Sequence[Statement], warn: Warn) -> tuple[EventSinkConfig, ...]:
    """All C{event_sink NAME { … }}."""
    sinks = []
    once = Once("event_sink")
    for statement in statements:
        argument = values.arguments(statement, 1, 1, "event_sink NAME { url URL; }")[0]
        once.add(argument.text, argument.place, argument.text)
        sinks.append(_sink(statement, values.name(statement, argument), warn))
    return tuple(sinks)


def _sink(statement: Statement, name: str, warn: Warn) -> EventSinkConfig:
    told: dict[str, Any] = {"name": name, "only": (), "except_": ()}
    for each in served(statement.block or (), EVENT_SINK, warn):
        values.no_block(each)
        if each.word in ("only", "except"):
            key = "only" if each.word == "only" else "except_"
            given = values.arguments(each, 1, 32, f"{each.word} KEY=VALUE;")
            told[key] += tuple(_condition(each, argument) for argument in given)
        elif each.word == "url":
            url = values.one(each, "url URL;")
            if _SINK.fullmatch(url.text) is None:
                raise values.wrong(each, url, "http://…, https://… or jsonlog:///PATH")
            told["url"] = url.text
        else:
            field, read = _NUMBERS[each.word]
            told[field] = read(each)
    if "url" not in told:
        raise statement.error("url URL; in its block")
    return EventSinkConfig(**told)


def _condition(statement: Statement, argument: Argument) -> EventCondition:
    matched = _CONDITION.fullmatch(argument.text)
    values_given = tuple(each for each in matched[2].split(",") if each) if matched is not None else ()
    if matched is None or not values_given:
        raise values.wrong(statement, argument, "KEY=VALUE,VALUE (a * at the end of a value: what begins so)")
    return EventCondition(key=matched[1], values=values_given)


def _period(statement: Statement, argument: Argument) -> int:
    matched = _PERIOD.fullmatch(argument.text)
    if matched is None:
        raise values.wrong(statement, argument, "a number of hours, days or weeks: 36h, 30d, 4w")
    return int(matched[1]) * _SECONDS[matched[2]]


def _number(low: int, high: int) -> Any:
    return lambda statement: values.whole(statement, low, high)


def _time(statement: Statement) -> float:
    argument = values.one(statement, f"{statement.word} SECONDS;")
    return values.seconds(statement, argument, argument.text, statement.word)


_NUMBERS: Final[dict[str, tuple[str, Any]]] = {
    "max_depth": ("max_depth", _number(1, 1_000_000)),
    "max_size": ("max_size", _number(1024, 1 << 26)),
    "resend_limit": ("resend_limit", _number(0, 1_000_000)),
    "resend_timeout": ("resend_timeout", _time),
    "throttle_delay": ("throttle_delay", _time),
}
