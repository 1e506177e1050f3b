"""Changing single directives of a file's text: what is not changed stays to the byte, comments and order too.

A block is named by its word and its first argument, as C{stream} C{news}. Its directives are given by their
words: each is a list of statements, a statement a list of arguments without quotes and escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

from attrs import field, frozen

from restreamer.config.grammar import read_statements

#: Statements of a block by word: C{{"input": [["publish://"]], "title": [["Evening news"]]}}.
Options = Mapping[str, Sequence[Sequence[str]]]

_TOKEN: Final = re.compile(r'#[^\n]*|[;{}]|"(?:[^"\\]|\\.)*"|[^\s";{}#][^\s";{}]*|\s+')
_WORD: Final = re.compile(r'[^\s";{}#\x00-\x1f\x7f][^\s";{}\x00-\x1f\x7f]*')
_DIRECTIVE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ESCAPED: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_UNESCAPED: Final = re.compile(r"\\(.)")
#: Two words for one thing.
_SAME: Final = {"url": "input"}


class RewriteError(ValueError):
    """A change that cannot be made; the text is a sentence for people."""


@frozen
class Span:
    """A statement in a text, by offsets. @ivar words: its arguments, unescaped, with their offsets.

    @ivar open, close: of what is between its braces; -1: it has none.
    """

    word: str
    words: tuple[tuple[str, int, int], ...]
    start: int
    end: int
    open: int = -1
    close: int = -1
    children: tuple[Span, ...] = field(default=(), repr=False)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Its arguments."""
        return tuple(text for text, _, _ in self.words)

    @property
    def kind(self) -> str:
        """Its word, or the usual one for the same."""
        return _SAME.get(self.word, self.word)


def found(text: str, path: str) -> tuple[Span, ...]:
    """The statements of C{text}.

    @raise ConfigError: the text is not well formed. @param path: of the file, for the error.
    """
    read_statements(text, path)
    return tuple(_spans(text, iter(_TOKEN.finditer(text)))[0])


def named(spans: Sequence[Span], word: str, key: str) -> Span | None:
    """The block C{word} C{key}; schemes before a host are no part of its name."""
    for each in spans:
        if each.word == word and each.words and name_of(each) == key:
            return each
    return None


def name_of(span: Span) -> str:
    """What a block is named by."""
    first = span.words[0][0]
    return first.partition("://")[2] or first


def options_of(span: Span) -> dict[str, list[list[str]]]:
    """The directives of a block; the arguments behind its name are an C{input}."""
    told: dict[str, list[list[str]]] = {}
    if len(span.words) > 1:
        told["input"] = [list(span.arguments[1:])]
    for each in span.children:
        told.setdefault(each.kind, []).append(list(each.arguments))
    return told


def changed(text: str, path: str, word: str, key: str, options: Options) -> str:
    """C{text} in which the block has these C{options}; others stay, an empty list takes one away.

    A block that is not there is made, at the end of the text.
    @raise RewriteError: it cannot be written. @raise ConfigError: C{text} is not well formed.
    """
    if not all(_DIRECTIVE.fullmatch(each) for each in options):
        raise RewriteError("a directive is a word of lower case letters and _")
    options = {_SAME.get(each, each): values for each, values in options.items()}
    block = named(found(text, path), word, key)
    if block is None:
        lines = [_written(each, args) for each, values in options.items() for args in values]
        body = "".join(f"  {line}\n" for line in lines)
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}{_head(word, [key])} {{\n{body}}}\n"
    edits: list[tuple[int, int, str]] = []
    fresh: list[str] = []
    for each, values in options.items():
        wanted = [list(args) for args in values]
        if each == "input" and len(block.words) > 1:
            if wanted and wanted[0] == list(block.arguments[1:]):
                del wanted[0]
            else:
                edits.append((block.words[0][2], block.words[-1][2], ""))
        fresh += _compared(text, block, each, wanted, edits)
    edits += _inserted(text, block, fresh)
    for begin, behind, instead in sorted(edits, reverse=True):
        text = text[:begin] + instead + text[behind:]
    return text


def without(text: str, path: str, word: str, key: str) -> str:
    """C{text} without the block.

    @raise KeyError: there is none. @raise ConfigError: C{text} is not well formed.
    """
    block = named(found(text, path), word, key)
    if block is None:
        raise KeyError(key)
    start, end = _whole_lines(text, block.start, block.end)
    return text[:start] + text[end:]


def _spans(text: str, tokens: Iterator[re.Match[str]]) -> tuple[list[Span], int]:
    """Statements up to the brace that closes this block, or the end; and where that brace is."""
    made: list[Span] = []
    head: list[tuple[str, int, int]] = []
    for token in tokens:
        piece = token.group()
        if piece[0].isspace() or piece[0] == "#":
            continue
        if piece == "}":
            return made, token.start()
        if piece not in (";", "{"):
            plain = _UNESCAPED.sub(_unescaped, piece[1:-1]) if piece[0] == '"' else piece
            head.append((plain, token.start(), token.end()))
            continue
        word, start, _ = head[0]
        if piece == ";":
            made.append(Span(word, tuple(head[1:]), start, token.end()))
        else:
            children, close = _spans(text, tokens)
            made.append(Span(word, tuple(head[1:]), start, close + 1, token.end(), close, tuple(children)))
        head = []
    return made, len(text)


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(match[1], match[1])


def _compared(
    text: str, block: Span, word: str, wanted: list[list[str]], edits: list[tuple[int, int, str]]
) -> list[str]:
    """Edit the statements C{word} of a block into C{wanted}; those that have no place yet come back."""
    there = [each for each in block.children if each.kind == word]
    if any(each.open >= 0 for each in there):
        raise RewriteError(f"{word} has a block of its own: it is changed in the text")
    fresh: list[str] = []
    matcher = SequenceMatcher(
        None, [each.arguments for each in there], [tuple(each) for each in wanted], autojunk=False
    )
    for how, first, last, begin, end in matcher.get_opcodes():
        if how == "equal":
            continue
        lines = [_written(word, each) for each in wanted[begin:end]]
        for index, each in enumerate(there[first:last]):
            if index < len(lines):
                line = lines[index].replace(word, each.word, 1)
                edits.append((each.start, each.end, line))
            else:
                edits.append((*_whole_lines(text, each.start, each.end), ""))
        more = lines[last - first :]
        if more and there:
            before = there[last - 1] if last else None
            if before is None:
                start = there[0].start
                edits.append((start, start, "".join(line + _gap(text, start) for line in more)))
            else:
                gap = _gap(text, before.start)
                at = before.end if gap == " " else _line_end(text, before.end)
                edits.append((at, at, "".join(gap + line for line in more)))
        else:
            fresh += more
    return fresh


def _inserted(text: str, block: Span, lines: Sequence[str]) -> list[tuple[int, int, str]]:
    """Edits that put C{lines} at the end of a block."""
    if not lines:
        return []
    outer = _gap(text, block.start, alone="\n")
    if block.open < 0:
        body = "".join(f"{outer}  {line}" for line in lines)
        return [(block.end - 1, block.end, f" {{{body}{outer}}}")]
    if "\n" not in text[block.open : block.close]:
        at = len(text[: block.close].rstrip())
        end = " " if at == block.close else ""
        return [(at, at, "".join(f" {line}" for line in lines) + end)]
    gap = f"{outer}  "
    for each in block.children:
        own = _gap(text, each.start)
        gap = own if own != " " else gap
    at = text.rindex("\n", 0, block.close)
    if text[at : block.close].strip():
        # Something stands before the brace, in its line.
        at = block.close
        return [(at, at, "".join(f"{line} " for line in lines))]
    return [(at, at, "".join(gap + line for line in lines))]


def _gap(text: str, start: int, alone: str = " ") -> str:
    """What stands between a statement at C{start} and one before it: a new line, if it begins one."""
    line = text.rfind("\n", 0, start) + 1
    before = text[line:start]
    return "\n" + before if not before.strip() else alone


def _line_end(text: str, at: int) -> int:
    """The end of the line, behind a comment; C{at} itself when something else stands there."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    rest = text[at:end].strip()
    return end if not rest or rest.startswith("#") else at


def _whole_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """What goes with a statement: its lines if it has them for itself, with the comment behind it."""
    line = text.rfind("\n", 0, start) + 1
    last = _line_end(text, end)
    ended = last == len(text) or text[last] == "\n"
    if not text[line:start].strip() and ended:
        return line, min(last + 1, len(text))
    while start > line and text[start - 1] in " \t":
        start -= 1
    return start, end


def _written(word: str, arguments: Sequence[str]) -> str:
    return _head(word, arguments) + ";"


def _head(word: str, arguments: Sequence[str]) -> str:
    return " ".join([word, *map(_quoted, arguments)])


def _quoted(text: str) -> str:
    if _WORD.fullmatch(text):
        return text
    escaped = "".join(_ESCAPED.get(each, each) for each in text)
    if re.search(r"[\x00-\x1f\x7f]", escaped):
        raise RewriteError("a control character cannot be written")
    return f'"{escaped}"'
