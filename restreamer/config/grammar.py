"""Text of a configuration file to a tree of statements, by the grammar in C{grammar.lark}.

The parser is fed token by token, so that depth and length are bounded while it works, and so
that a mistake is told in the user's words: what was found where, and what would have been right.
"""

from __future__ import annotations

import functools
from typing import NoReturn

from attrs import field, frozen
from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

from restreamer.config.model import Place
from restreamer.errors import ConfigError

MAX_DEPTH = 16
MAX_TOKENS = 1_000_000
MAX_FOUND = 60
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}
_STATEMENT = "a directive"


@frozen
class Argument:
    """One argument. Its text may be secret: it is not in the repr.

    @ivar text: the value, escapes already replaced. @ivar quoted: whether it stood in double quotes.
    """

    text: str = field(repr=False)
    place: Place
    quoted: bool = False


@frozen
class Statement:
    """One statement.

    @ivar word: the directive. @ivar block: the statements in its braces; None when it ended with C{;}.
    """

    word: str
    place: Place
    arguments: tuple[Argument, ...] = ()
    block: tuple[Statement, ...] | None = field(default=None, repr=False)

    def error(self, expected: str) -> ConfigError:
        """The error that this directive is not right here."""
        return fault(self.place, self.word, expected)


def fault(place: Place, found: str, expected: str) -> ConfigError:
    """A ConfigError at C{place}; C{found} is cut to a readable length."""
    return ConfigError(place.path, place.line, place.column, _cut(found), expected)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FOUND else text[:MAX_FOUND] + "…"


class _ToStatements(Transformer[Token, list[Statement]]):
    """Builds statements while the parser reduces."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def start(self, children: list[Statement]) -> list[Statement]:
        return children

    def simple(self, children: list[Token]) -> Statement:
        return self._statement(children, None)

    def group(self, children: list[Token | Statement]) -> Statement:
        head: list[Token] = []
        body: list[Statement] = []
        for child in children:
            if isinstance(child, Statement):
                body.append(child)
            elif child.type != "OPEN":
                head.append(child)
        return self._statement(head, tuple(body))

    def _statement(self, head: list[Token], block: tuple[Statement, ...] | None) -> Statement:
        word, *rest = head
        return Statement(
            str(word), _place(self._path, word), tuple(self._argument(each) for each in rest), block
        )

    def _argument(self, token: Token) -> Argument:
        place = _place(self._path, token)
        if token.type == "STRING":
            return Argument(_unescape(token[1:-1], place), place, quoted=True)
        return Argument(str(token), place)


def _place(path: str, token: Token) -> Place:
    return Place(path, token.line or 1, token.column or 1)


def _unescape(text: str, place: Place) -> str:
    if "\\" not in text:
        return text
    parts: list[str] = []
    rest = iter(text)
    for character in rest:
        if character == "\\":
            escape = next(rest)
            if escape not in _ESCAPES:
                raise fault(place, "\\" + escape, r"one of \" \\ \n \t in a string")
            character = _ESCAPES[escape]
        parts.append(character)
    return "".join(parts)


@functools.cache
def _parser() -> Lark:
    return Lark.open(
        "grammar.lark",
        rel_to=__file__,
        parser="lalr",
        lexer="contextual",
        propagate_positions=False,
        maybe_placeholders=False,
    )


class _Reading:
    """Where one parse stands: what it needs to name a mistake."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._head: Token | None = None
        self._open: list[Token] = []
        self._last: Token | None = None
        self._tokens = 0

    def before(self, token: Token) -> None:
        """Look at C{token} before the parser takes it.

        @raise ConfigError: it does not fit here, or it is one too many.
        """
        self._last = token
        self._tokens += 1
        if self._tokens > MAX_TOKENS:
            raise fault(_place(self._path, token), str(token), f"at most {MAX_TOKENS} words in a file")
        kind = token.type
        if self._head is None:
            if kind == "WORD":
                self._head = token
            elif kind == "RBRACE" and self._open:
                self._open.pop()
            else:
                self._not_a_statement(token)
        elif kind == "SEMICOLON":
            self._head = None
        elif kind == "OPEN":
            self._open.append(self._head)
            self._head = None
            if len(self._open) > MAX_DEPTH:
                raise fault(_place(self._path, token), "{", f"at most {MAX_DEPTH} blocks inside each other")
        elif kind == "RBRACE":
            raise fault(_place(self._path, token), "}", self._ending())

    def ended(self) -> None:
        """Look at the end of the file.

        @raise ConfigError: something is still open.
        """
        last = self._last
        if last is None:
            return
        place = Place(self._path, last.end_line or 1, last.end_column or 1)
        if self._head is not None:
            raise fault(place, "end of file", self._ending())
        if self._open:
            opener = self._open[-1]
            raise fault(
                place,
                "end of file",
                f"}} to close the block of '{_cut(opener)}' opened in line {opener.line}",
            )

    def unreadable(self, character: str, line: int, column: int) -> NoReturn:
        """Name a character with which no token can begin."""
        place = Place(self._path, line, column)
        if character == '"':
            raise fault(place, '"', 'a closing " in the same line (write \\" for a quote inside)')
        raise fault(place, character, "printable text or an ordinary space")

    def _ending(self) -> str:
        head = self._head
        assert head is not None
        return f"; to end the directive '{_cut(head)}' of line {head.line}"

    def _not_a_statement(self, token: Token) -> NoReturn:
        place = _place(self._path, token)
        if token.type == "RBRACE":
            raise fault(place, "}", f"{_STATEMENT}: no block is open here")
        if token.type == "STRING":
            raise fault(place, '"…"', f"{_STATEMENT}, not a string")
        if token.type == "SEMICOLON":
            raise fault(place, ";", f"{_STATEMENT} (nothing to end here; no ; follows a block)")
        raise fault(place, "{", f"{_STATEMENT} before its block")


def read_statements(text: str, path: str) -> list[Statement]:
    """The statements of C{text}.

    @param path: the file's name for places and errors.
    @raise ConfigError: the text is not well formed.
    """
    reading = _Reading(path)
    parsing = _parser().parse_interactive(text)
    try:
        for token in parsing.iter_parse():
            reading.before(token)
        reading.ended()
        tree = parsing.feed_eof()
    except UnexpectedCharacters as error:
        reading.unreadable(error.char, error.line, error.column)
    except UnexpectedToken as error:
        # The contextual lexer refuses a token its state has no use for before we see it.
        reading.before(error.token)
        raise
    try:
        return _ToStatements(path).transform(tree)
    except VisitError as error:
        raise error.orig_exc
