"""Endpoints of the configuration file: its text, a check of another one, and putting that into force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypedDict

from restreamer.web.api_error import ApiError
from restreamer.web.v3.endpoint import Access, Call, Endpoint

#: Bytes of a request with a text: JSON may take two for one of its characters.
MAX_TEXT: Final = 2 * 1024 * 1024


class FileText(TypedDict):
    """The configuration file. C{revision} names this very text."""

    path: str
    text: str
    revision: str


class TextGiven(TypedDict):
    """A text to check."""

    text: str


class FileGiven(TypedDict):
    """A text to put into force instead of the one of C{revision}."""

    text: str
    revision: str


class RemarkInfo(TypedDict):
    """Something about a text. C{line} and C{column} from 1; 0: it is about no place in it."""

    line: int
    column: int
    text: str


class CheckInfo(TypedDict):
    """What came of a text: with errors nothing was changed. C{revision}: of the file, when it was written."""

    errors: Sequence[RemarkInfo]
    warnings: Sequence[RemarkInfo]
    revision: str


class Remarked(Protocol):
    """As L{RemarkInfo}."""

    @property
    def line(self) -> int:
        """Line."""
        ...

    @property
    def column(self) -> int:
        """Column."""
        ...

    @property
    def text(self) -> str:
        """What there is to say."""
        ...


class Checked(Protocol):
    """As L{CheckInfo}."""

    @property
    def errors(self) -> Sequence[Remarked]:
        """Why it cannot be used."""
        ...

    @property
    def warnings(self) -> Sequence[Remarked]:
        """What has no effect, or weakens the node."""
        ...

    @property
    def revision(self) -> str:
        """Of the file."""
        ...


class EditedFile(Protocol):
    """The configuration file."""

    @property
    def path(self) -> str:
        """Where it is."""
        ...

    async def read(self) -> tuple[str, str]:
        """Text and revision. @raise OSError, UnicodeDecodeError: it cannot be read."""
        ...

    async def check(self, text: str) -> Checked:
        """What is wrong with C{text}."""
        ...

    async def write(self, text: str, revision: str) -> Checked:
        """Put C{text} into force. @raise OSError: it cannot be written.

        @raise Exception: of the type given to L{configuring_endpoints}: the file is of another revision.
        """
        ...


def configuring_endpoints(
    file: EditedFile, conflict: type[Exception], changed: Callable[[str], None]
) -> list[Endpoint]:
    """The endpoints.

    @param conflict: what L{EditedFile.write} raises when somebody else changed the file.
    @param changed: told the user's word when another configuration was put into force.
    """

    async def read(call: Call) -> FileText:
        text, revision = await possible(file.read())
        return FileText(path=file.path, text=text, revision=revision)

    async def check(call: Call) -> CheckInfo:
        return _info(await possible(file.check(call.body["text"])))

    async def write(call: Call) -> CheckInfo:
        try:
            checked = await possible(file.write(call.body["text"], call.body["revision"]))
        except conflict as error:
            raise ApiError(409, "conflict", f"the file was not changed: {error}") from None
        if not checked.errors:
            changed(call.user)
        return _info(checked)

    def made(method: str, summary: str, handler: Any, body: Any, result: Any, **more: Any) -> Endpoint:
        return Endpoint(
            method=method,
            path="/config/file",
            summary=summary,
            tag="config",
            handler=handler,
            access=Access.EDIT,
            body=body,
            most_body=MAX_TEXT,
            result=result,
            **more,
        )

    return [
        made("GET", "The text of the configuration file, secrets included.", read, None, FileText),
        made("POST", "Check a text; nothing is changed.", check, TextGiven, CheckInfo),
        made(
            "PUT",
            "Replace the text, and put it into force.",
            write,
            FileGiven,
            CheckInfo,
            errors={409: "The file is not of this revision: somebody else changed it."},
        ),
    ]


async def possible(work: Awaitable[Any]) -> Any:
    """What C{work} gives. @raise ApiError: 503: the file cannot be used."""
    try:
        return await work
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ApiError(503, "file_error", f"the configuration file cannot be used: {why}") from None


def _info(checked: Checked) -> CheckInfo:
    return CheckInfo(
        errors=[remark(each) for each in checked.errors],
        warnings=[remark(each) for each in checked.warnings],
        revision=checked.revision,
    )


def remark(each: Remarked) -> RemarkInfo:
    """As it is told."""
    return RemarkInfo(line=each.line, column=each.column, text=each.text)
