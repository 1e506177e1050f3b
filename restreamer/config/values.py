"""Readers of directive arguments: each takes a statement and gives a checked value or raises ConfigError."""

from __future__ import annotations

import os
import re

from restreamer.config.grammar import Argument, Statement, fault
from restreamer.config.secrecy import shown_argument
from restreamer.errors import ConfigError
from restreamer.media.names import MAX_NAME, MAX_PARTS, valid_stream_name

MAX_TEXT = 1000
MAX_TIMEOUT = 30 * 86400
MIN_TIMEOUT = 0.1
NAME_RULE = f"a name: 1-{MAX_NAME} characters of A-Z a-z 0-9 . _ - in at most {MAX_PARTS} parts joined by /"
_NUMBER = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)")
_BITS = re.compile(r"([0-9]{1,9})([kKMGT]?)")
_BIT_UNITS = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def wrong(statement: Statement, argument: Argument, expected: str) -> ConfigError:
    """The error that C{argument} of C{statement} should be C{expected}; a secret is not shown."""
    return fault(argument.place, shown_argument(statement.word, argument.text), expected)


def no_block(statement: Statement) -> None:
    """Check that C{statement} ended with C{;}."""
    if statement.block is not None:
        raise fault(
            statement.place, f"{statement.word} {{", f"; after {statement.word} and its value, not a block"
        )


def arguments(statement: Statement, low: int, high: int, usage: str) -> tuple[Argument, ...]:
    """The arguments of C{statement}, C{low} to C{high} of them.

    @param usage: what the whole should look like.
    """
    given = statement.arguments
    if len(given) < low:
        raise statement.error(usage)
    if len(given) > high:
        raise wrong(statement, given[high], f'{usage} (a value with spaces goes in "quotes")')
    return given


def one(statement: Statement, usage: str) -> Argument:
    """The one argument of a statement without a block."""
    no_block(statement)
    return arguments(statement, 1, 1, usage)[0]


def flag(statement: Statement) -> bool:
    """C{WORD;} and C{WORD true;} are True, C{WORD false;} is False."""
    usage = f"{statement.word}; or {statement.word} true; or {statement.word} false;"
    no_block(statement)
    given = arguments(statement, 0, 1, usage)
    if not given:
        return True
    if given[0].text not in ("true", "false"):
        raise wrong(statement, given[0], "true or false")
    return given[0].text == "true"


def text(statement: Statement) -> str:
    """Text for people, at most 1000 characters in one line; may be empty."""
    argument = one(statement, f'{statement.word} "TEXT";')
    if len(argument.text) > MAX_TEXT or _CONTROL.search(argument.text):
        raise wrong(statement, argument, f"at most {MAX_TEXT} characters in one line")
    return argument.text


def secret(statement: Statement) -> str:
    """A shared secret: not empty, at most 1000 characters in one line."""
    argument = one(statement, f"{statement.word} SECRET;")
    if not argument.text:
        raise fault(argument.place, '""', "a secret that is not empty")
    if len(argument.text) > MAX_TEXT or _CONTROL.search(argument.text):
        raise wrong(statement, argument, f"a secret of at most {MAX_TEXT} characters in one line")
    return argument.text


def whole(statement: Statement, low: int, high: int) -> int:
    """A whole number from C{low} to C{high}."""
    argument = one(statement, f"{statement.word} NUMBER;")
    return number(statement, argument, argument.text, low, high)


def number(statement: Statement, argument: Argument, value: str, low: int, high: int) -> int:
    """The whole number C{value} of C{argument}, from C{low} to C{high}."""
    if _NUMBER.fullmatch(value) and low <= int(value) <= high:
        return int(value)
    raise wrong(statement, argument, f"a whole number from {low} to {high}")


def parse_seconds(value: str) -> float | None:
    """C{5}, C{1.5}, C{90s}, C{2m}, C{1h}, C{7d} in seconds; None when C{value} is none of these."""
    match = _SECONDS.fullmatch(value)
    return float(match[1]) * _UNITS[match[2]] if match else None


def whole_seconds(statement: Statement, low: int, high: int) -> int:
    """A time in whole seconds from C{low} to C{high}."""
    argument = one(statement, f"{statement.word} SECONDS;")
    seconds = parse_seconds(argument.text)
    if seconds is not None and seconds == int(seconds) and low <= seconds <= high:
        return int(seconds)
    raise wrong(statement, argument, f"{low} to {high} whole seconds")


def parse_timeout(value: str) -> float | None:
    """Seconds of a timeout; C{false} and C{0} are 0.0; None when out of range or not a time."""
    if value == "false":
        return 0.0
    seconds = parse_seconds(value)
    if seconds is None or (seconds != 0 and not MIN_TIMEOUT <= seconds <= MAX_TIMEOUT):
        return None
    return seconds


TIMEOUT_RULE = f"seconds from {MIN_TIMEOUT} to {MAX_TIMEOUT} (60, 1.5, 2m, 1h), or false for never"


def timeout(statement: Statement) -> float:
    """Seconds, or 0.0 for C{false}."""
    argument = one(statement, f"{statement.word} SECONDS; or {statement.word} false;")
    seconds = parse_timeout(argument.text)
    if seconds is None:
        raise wrong(statement, argument, TIMEOUT_RULE)
    return seconds


def seconds(statement: Statement, argument: Argument, value: str, what: str) -> float:
    """The time C{value} of C{argument}, which is never 0.

    @param what: how the whole should begin, for the message: C{"timeout="}.
    """
    found = parse_timeout(value)
    if not found:
        raise wrong(statement, argument, f"{what} with seconds from {MIN_TIMEOUT} to {MAX_TIMEOUT}")
    return found


def truth(statement: Statement, argument: Argument, value: str | None, what: str) -> bool:
    """The value of a switch; without one it is on."""
    if value not in (None, "true", "false"):
        raise wrong(statement, argument, f"{what} with true or false")
    return value != "false"


def parse_bits(value: str) -> int | None:
    """C{5000000}, C{40M}, C{900k} in bits per second; None when C{value} is none of these or 0."""
    match = _BITS.fullmatch(value)
    return int(match[1]) * _BIT_UNITS[match[2]] or None if match else None


def path(statement: Statement, argument: Argument, what: str) -> str:
    """A path, made absolute from the folder of the file it is written in.

    @param what: what the path is of, for the message: C{"folder"}.
    """
    if not argument.text or _CONTROL.search(argument.text):
        raise wrong(statement, argument, f"the path of a {what}")
    base = os.path.dirname(os.path.abspath(argument.place.path))
    return os.path.normpath(os.path.join(base, argument.text))


def name(statement: Statement, argument: Argument) -> str:
    """C{argument} as a checked name."""
    if not valid_stream_name(argument.text):
        raise wrong(statement, argument, NAME_RULE)
    return argument.text


def pattern(statement: Statement, argument: Argument) -> str:
    """C{argument} as an exact stream name or C{prefix/*}."""
    if not valid_stream_name(argument.text.removesuffix("/*")):
        raise wrong(statement, argument, "a stream name or prefix/* (a * stands only there)")
    return argument.text
