"""A configuration error as a person reads it: the place, the line with a caret under it, what is expected."""

from __future__ import annotations

from restreamer.config.include import ConfigFileError
from restreamer.config.secrecy import masked
from restreamer.errors import ConfigError

WIDTH = 100
_LEFT = 60


def line_of(text: str, line: int) -> str:
    """Line C{line} (from 1) of C{text}, its secrets replaced by stars; empty when there is none."""
    lines = masked(text).split("\n")
    return lines[line - 1].rstrip("\r") if 0 < line <= len(lines) else ""


def describe(error: ConfigError, text: str | None) -> str:
    """C{error} over several lines, without a line break at the end.

    @param text: the file C{error.path}; None when it cannot be had.
    """
    if isinstance(error, ConfigFileError):
        return f"error: {error}"
    head = f"{error.path}:{error.line}:{error.column}: error: found {error.found!r}"
    expected = f"  expected: {error.expected}"
    source = line_of(text, error.line) if text is not None else ""
    if not source.strip():
        return f"{head}\n{expected}"
    column = error.column - 1
    begin = max(0, column - _LEFT)
    shown = source[begin : begin + WIDTH]
    shown = "".join(each if each.isprintable() or each == "\t" else "�" for each in shown)
    # Tabs are kept in front of the caret, so that it stands right whatever their width.
    indent = "".join("\t" if each == "\t" else " " for each in shown[: column - begin])
    width = max(1, min(len(error.found), len(shown) - (column - begin)))
    marker = "^" + "~" * (width - 1)
    return f"{head}\n    {shown}\n    {indent}{marker}\n{expected}"
