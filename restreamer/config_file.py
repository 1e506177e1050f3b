"""The configuration file as it is edited over the API: read, checked, replaced, put into force.

Everything here blocks but what waits for the reload; it is run in a thread.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from restreamer.config import rewrite
from restreamer.config.include import MAX_BYTES
from restreamer.config.load import load
from restreamer.config.model import Configuration, Place
from restreamer.config.rewrite import Options
from restreamer.errors import ConfigError


@frozen
class Remark:
    """Something about a text. @ivar line, column: where, from 1; 0: nowhere in the file itself."""

    line: int
    column: int
    text: str


@frozen(kw_only=True)
class CheckedText:
    """What came of a text. @ivar revision: of the file, as it is now."""

    errors: tuple[Remark, ...] = ()
    warnings: tuple[Remark, ...] = ()
    revision: str = ""


class ChangedElsewhereError(Exception):
    """The file is not what the editor began with."""


class BlockError(Exception):
    """A block cannot be changed so; the text is a sentence for people."""


#: Told of an error in another file.
_ELSEWHERE: Final = "an included file is wrong here (restreamer check tells what)"


class ConfigFile:
    """The file of a running node.

    @param path: of the main file. @param in_thread: runs what blocks. @param reload: puts the file in force;
        gives whether that was possible.
    """

    def __init__(
        self,
        path: str,
        in_thread: Callable[..., Awaitable[Any]],
        reload: Callable[[], Awaitable[bool]],
    ) -> None:
        self._path = Path(path)
        self._in_thread = in_thread
        self._reload = reload
        self._busy = False

    @property
    def path(self) -> str:
        """Where it is."""
        return str(self._path)

    async def read(self) -> tuple[str, str]:
        """Its text and revision.

        @raise OSError: it cannot be read. @raise UnicodeDecodeError: it is not UTF-8.
        """
        found: tuple[str, str] = await self._in_thread(self._read)
        return found

    async def check(self, text: str) -> CheckedText:
        """What is wrong with C{text}, if it were the file's."""
        checked: CheckedText = await self._in_thread(self._check, text)
        return checked

    async def write(self, text: str, revision: str) -> CheckedText:
        """Make C{text} the file's and put it into force; with errors nothing is changed.

        @raise ChangedElsewhereError: the file is not of C{revision}. @raise OSError: it cannot be written.
        """
        if self._busy:
            raise ChangedElsewhereError("it is being changed now")
        self._busy = True
        try:
            checked: CheckedText = await self._in_thread(self._replace, text, revision)
            if checked.errors:
                return checked
            if not await self._reload():
                old: CheckedText = await self._in_thread(self._put_back)
                return old
            return checked
        finally:
            self._busy = False

    async def blocks(self, word: str) -> tuple[dict[str, dict[str, list[list[str]]]], str]:
        """What the file itself says of its blocks C{word}: options by name; and its revision.

        @raise OSError, UnicodeDecodeError: it cannot be read. @raise BlockError: it is not well formed.
        """
        told: tuple[dict[str, dict[str, list[list[str]]]], str] = await self._in_thread(self._blocks, word)
        return told

    async def change(self, word: str, name: str, options: Options | None, revision: str) -> CheckedText:
        """Give a block these options, the others stay; make it if it is not there. None: take it away.

        @param revision: of the file that was read before; empty: any.
        @raise ChangedElsewhereError: the file is not of C{revision}. @raise KeyError: there is no such block.
        @raise BlockError: it cannot be written so. @raise OSError: the file cannot be written.
        """
        text, now = await self.read()
        if revision and revision != now:
            raise ChangedElsewhereError("it was changed by somebody else")
        made = await self._in_thread(self._changed, text, word, name, options)
        return await self.write(made, now)

    def _blocks(self, word: str) -> tuple[dict[str, dict[str, list[list[str]]]], str]:
        text, revision = self._read()
        try:
            spans = rewrite.found(text, self._path.name)
        except ConfigError as error:
            raise BlockError(str(error)) from None
        told = {
            rewrite.name_of(each): rewrite.options_of(each)
            for each in spans
            if each.word == word and each.words
        }
        return told, revision

    def _changed(self, text: str, word: str, name: str, options: Options | None) -> str:
        try:
            if rewrite.named(rewrite.found(text, self._path.name), word, name) is None:
                self._included(word, name)
            if options is None:
                return rewrite.without(text, self._path.name, word, name)
            return rewrite.changed(text, self._path.name, word, name, options)
        except (ConfigError, rewrite.RewriteError) as error:
            raise BlockError(str(error)) from None

    def _included(self, word: str, name: str) -> None:
        """Refuse a block that stands in an included file."""
        configuration = load(str(self._path)).configuration
        there: dict[str, Place] = {}
        if word == "stream":
            there = {key: each.place for key, each in configuration.streams.items()}
        elif word == "template":
            there = {key: each.place for key, each in configuration.templates.items()}
        elif word == "source":
            there = {str(each): each.place for each in configuration.sources}
        place = there.get(name)
        if place is not None and place.path != str(self._path):
            raise BlockError(f"{word} {name} is in the included file {place.path}, line {place.line}")

    def _read(self) -> tuple[str, str]:
        data = self._path.read_bytes()
        return data.decode("utf-8"), _revision(data)

    def _check(self, text: str) -> CheckedText:
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > MAX_BYTES:
            return CheckedText(errors=(Remark(0, 0, f"the configuration is longer than {MAX_BYTES} bytes"),))
        # Beside the file itself: includes and relative folders begin there.
        descriptor, name = tempfile.mkstemp(".check", f".{self._path.name}.", self._path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            try:
                loaded = load(name)
            except ConfigError as error:
                return CheckedText(errors=(self._remark(error.path, name, error.line, error.column, error),))
        finally:
            os.unlink(name)
        warnings = tuple(
            self._remark(each.path, name, each.line, each.column, each) for each in loaded.warnings
        )
        return CheckedText(errors=_locked_out(loaded.configuration), warnings=warnings)

    def _remark(self, path: str, checked: str, line: int, column: int, told: object) -> Remark:
        if path != checked and isinstance(told, ConfigError):
            # What stands in another file is not for who asks: it may be any file of the machine.
            return Remark(0, 0, f"{path}:{told.line}:{told.column}: {_ELSEWHERE}")
        text = str(told).replace(checked, self._path.name)
        if path != checked:
            return Remark(0, 0, text)
        return Remark(line, column, text.partition(f"{self._path.name}:{line}:{column}: ")[2] or text)

    def _replace(self, text: str, revision: str) -> CheckedText:
        before = self._path.read_bytes()
        if _revision(before) != revision:
            raise ChangedElsewhereError("it was changed by somebody else")
        checked = self._check(text)
        if checked.errors:
            return checked
        data = text.encode()
        self._put(self._kept, before)
        self._put(self._path, data)
        return CheckedText(warnings=checked.warnings, revision=_revision(data))

    def _put_back(self) -> CheckedText:
        data = self._kept.read_bytes()
        self._put(self._path, data)
        text = "it could not be put into force (a port cannot be had?); the log says why, the old one stays"
        return CheckedText(errors=(Remark(0, 0, text),), revision=_revision(data))

    @property
    def _kept(self) -> Path:
        """Where the file before the last change is."""
        return self._path.with_name(self._path.name + "~")

    def _put(self, path: Path, data: bytes) -> None:
        """Write a file as a whole or not at all, with the rights of the file that it replaces.

        A link goes on to point at it.
        """
        path = path.resolve()
        descriptor, name = tempfile.mkstemp(".new", f".{path.name}.", path.parent)
        try:
            with open(descriptor, "wb") as file:
                like = os.stat(self._path)
                os.fchmod(file.fileno(), like.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), like.st_uid, like.st_gid)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def _locked_out(configuration: Configuration) -> tuple[Remark, ...]:
    """Why nobody could undo it over the API: with a file in force that says so, the API would be gone."""
    found = []
    if not any(listen.api for listen in (*configuration.http, *configuration.https)):
        found.append("it leaves no http or https port with pages and API: that is changed in the file itself")
    if configuration.edit_auth is None:
        found.append(
            "it has no edit_auth, so nobody could change it again: that is changed in the file itself"
        )
    return tuple(Remark(0, 0, text) for text in found)


def _revision(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
