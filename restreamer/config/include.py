"""Reading configuration files and what they include.

C{include GLOB;} stands for the statements of the files that match, in the order of their names; a relative
pattern begins at the folder of the file it is written in. Places keep naming the file a statement is from.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Sequence

from attrs import evolve

from restreamer.config import values
from restreamer.config.grammar import Statement, fault, read_statements
from restreamer.config.model import Place
from restreamer.errors import ConfigError

MAX_BYTES = 10_000_000
MAX_FILES = 1000
MAX_INCLUDE_DEPTH = 16

Expand = Callable[[Statement], Sequence[Statement]]


class ConfigFileError(ConfigError):
    """A file that cannot be read at all, so there is no line to name (C{line} is 0)."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, 0, 0, what, "a readable configuration file")
        self.args = (f"{path}: {what}",)


def decode(data: bytes, path: str) -> str:
    """The text of C{data}: UTF-8, a byte order mark dropped.

    @raise ConfigError: a byte is not UTF-8; its line and column are named.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8", "replace")) + 1
        found = f"byte 0x{data[error.start]:02x}"
        raise fault(Place(path, before.count(b"\n") + 1, column), found, "text in UTF-8")


def expanded(statements: Sequence[Statement], expand: Expand) -> tuple[Statement, ...]:
    """C{statements} with every C{include}, also inside blocks, replaced by what C{expand} gives for it.

    The bodies of blocks that are skipped with a warning are expanded too: a wrong include is wrong there.
    """
    result: list[Statement] = []
    for statement in statements:
        if statement.word == "include":
            result.extend(expand(statement))
        elif statement.block:
            result.append(evolve(statement, block=expanded(statement.block, expand)))
        else:
            result.append(statement)
    return tuple(result)


def no_include(statement: Statement) -> Sequence[Statement]:
    """The L{Expand} for text that is no file."""
    raise statement.error("no include: this text does not come from a file")


class FileReader:
    """Reads a file and its includes, counting files and bytes.

    @ivar files: every file read, as named, in order.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self._bytes = 0
        self._chain: list[tuple[str, str]] = []

    def read(self, path: str) -> tuple[Statement, ...]:
        """The statements of the file C{path} and of what it includes.

        @raise ConfigError: of any of the files; L{ConfigFileError} when C{path} itself cannot be read.
        """
        try:
            return self._file(path)
        except OSError as error:
            raise ConfigFileError(path, f"cannot be read: {error.strerror or error}")

    def _file(self, path: str) -> tuple[Statement, ...]:
        """@raise OSError: it cannot be read or is no regular file of a fitting size."""
        text = decode(self._content(path), path)
        self.files.append(path)
        self._chain.append((os.path.realpath(path), path))
        try:
            return expanded(read_statements(text, path), self._include)
        finally:
            self._chain.pop()

    def _content(self, path: str) -> bytes:
        # Not blocking: a fifo in place of a file must not hang the program.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise OSError(0, "not a regular file")
            data = opened.read(MAX_BYTES - self._bytes + 1)
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise OSError(0, f"the configuration is longer than {MAX_BYTES} bytes")
        return data

    def _include(self, statement: Statement) -> Sequence[Statement]:
        argument = values.one(statement, "include FILE; or include FOLDER/*.conf;")
        if not argument.text or "\x00" in argument.text:
            raise values.wrong(statement, argument, "a file name or pattern")
        if len(self._chain) > MAX_INCLUDE_DEPTH:
            raise values.wrong(statement, argument, f"at most {MAX_INCLUDE_DEPTH} includes inside each other")
        folder = os.path.dirname(argument.place.path)
        pattern = os.path.join(glob.escape(folder), argument.text)
        result: list[Statement] = []
        try:
            paths = sorted(glob.glob(pattern))
            if not paths and not glob.has_magic(argument.text):
                raise values.wrong(statement, argument, "a file that exists")
            for path in paths:
                if os.path.realpath(path) in [real for real, _ in self._chain]:
                    way = " → ".join([*(name for _, name in self._chain), path])
                    raise values.wrong(statement, argument, f"no file that includes itself ({way})")
                if len(self.files) >= MAX_FILES:
                    raise values.wrong(statement, argument, f"at most {MAX_FILES} files")
                result.extend(self._file(path))
        except OSError as error:
            raise values.wrong(statement, argument, f"a file that can be read: {error.strerror or error}")
        return result
