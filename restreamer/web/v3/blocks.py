"""Endpoints of single blocks of the configuration file: streams, templates, sources.

What is sent changes only the directives that it names; everything else in the file stays as it is written,
comments and order too. The whole file is checked before, and put into force behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

from attrs import define, field

from restreamer.web.api_error import ApiError
from restreamer.web.v3.configuring import Checked, RemarkInfo, possible, remark
from restreamer.web.v3.endpoint import Access, Answered, Call, Endpoint, Errors, Parameter
from restreamer.web.v3.listing import PARAMETERS, Listing
from restreamer.web.v3.reading import Envelope, Timing

#: What a directive is given: its one argument, or a list of statements, each an argument or a list of them.
Value = None | bool | int | float | str | list[str | list[str]]
#: Blocks by the last word of their paths.
KINDS: Final = {"streams": "stream", "templates": "template", "sources": "source"}

Statements = Mapping[str, list[list[str]]]


class BlockInfo(TypedDict):
    """A block of the file. C{options}: its directives by their words, secrets included: an argument, or a
    list of statements, each an argument or a list of them. C{revision}: of the file.
    """

    name: str
    options: Mapping[str, str | list[str | list[str]]]
    revision: str


class BlockChanged(BlockInfo):
    """A block, and what there is to say about the file."""

    warnings: Sequence[RemarkInfo]


class BlockList(Envelope):
    """Blocks of the file itself, not of files that it includes."""

    blocks: Sequence[BlockInfo]
    timing: Timing


class _Revision(TypedDict, total=False):
    revision: str


class BlockGiven(_Revision):
    """Directives by their words; null takes one away. C{revision}: of the file that they are meant for."""

    options: dict[str, Value]


class InputGiven(TypedDict):
    """An input."""

    url: str


class StreamGiven(_Revision, total=False):
    """What a stream is to be; what is left out stays, null goes back to the usual value."""

    title: str | None
    comment: str | None
    template: str | None
    inputs: list[InputGiven] | None
    static: bool | None
    disabled: bool | None
    password: str | None
    segment_duration: int | None
    segment_count: int | None
    url_prefix: str | None


class BlockFile(Protocol):
    """The configuration file, as far as its blocks go."""

    async def blocks(self, word: str) -> tuple[dict[str, dict[str, list[list[str]]]], str]:
        """Options of its blocks C{word} by name, and its revision."""
        ...

    async def change(self, word: str, name: str, options: Statements | None, revision: str) -> Checked:
        """Change, make or (None) remove one. @raise KeyError: there is none."""
        ...


@define
class BlocksApi:
    """Answers about blocks.

    @ivar conflict, wrong: what the file raises when somebody else changed it, and for what cannot be written.
    @ivar changed: told path and user when something was changed. @ivar seconds: monotonic seconds.
    """

    file: BlockFile
    conflict: type[Exception]
    wrong: type[Exception]
    changed: Callable[[str, str], None] = field(repr=False)
    seconds: Callable[[], float] = field(repr=False)

    async def list(self, kind: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of blocks. @raise ApiError: 400, 503."""
        told, revision = await self._read(kind)
        entries = {name: _info(name, told[name], revision) for name in told}
        listing = Listing("blocks", BlockInfo, lambda: entries, entries.get, self.seconds, ordered=True)
        return listing.page(query)

    async def item(self, kind: str, name: str) -> BlockInfo:
        """One of them. @raise ApiError: 404, 503."""
        told, revision = await self._read(kind)
        if name not in told:
            raise ApiError(404, "not_found", f"the file has no {KINDS[kind]} of that name")
        return _info(name, told[name], revision)

    async def put(
        self, kind: str, name: str, options: Mapping[str, Value], revision: str, user: str
    ) -> BlockChanged | Answered:
        """Change one, or make it. @raise ApiError: 400, 409, 503."""
        checked = await self._change(
            kind, name, {key: _statements(options[key]) for key in options}, revision
        )
        if checked.errors:
            return _bad(checked)
        self.changed(f"config/{kind}/{name}", user)
        told = await self.item(kind, name)
        return BlockChanged(**told, warnings=[remark(each) for each in checked.warnings])

    async def delete(self, kind: str, name: str, revision: str, user: str) -> Answered:
        """Take one away. @raise ApiError: 400, 404, 409, 503."""
        checked = await self._change(kind, name, None, revision)
        if checked.errors:
            return _bad(checked)
        self.changed(f"config/{kind}/{name}", user)
        return Answered(204)

    async def _read(self, kind: str) -> Any:
        try:
            return await possible(self.file.blocks(KINDS[kind]))
        except self.wrong as error:
            raise ApiError(503, "bad_config", str(error)) from None

    async def _change(self, kind: str, name: str, options: Statements | None, revision: str) -> Checked:
        try:
            checked: Checked = await possible(self.file.change(KINDS[kind], name, options, revision))
        except self.conflict as error:
            raise ApiError(409, "conflict", f"the file was not changed: {error}") from None
        except self.wrong as error:
            raise ApiError(400, "bad_config", str(error)) from None
        except KeyError:
            raise ApiError(404, "not_found", f"the file has no {KINDS[kind]} of that name") from None
        return checked


def block_endpoints(api: BlocksApi) -> list[Endpoint]:
    """All of them."""
    found: list[Endpoint] = []
    for kind, word in KINDS.items():
        path = f"/config/{kind}"
        found += [
            _made("GET", path, f"The {word} blocks of the file.", _lists(api, kind), BlockList, PARAMETERS),
            _made("GET", f"{path}/{{key}}", "One of them.", _items(api, kind), BlockInfo),
            _put(f"{path}/{{key}}", "Change its directives, or make it.", _puts(api, kind), BlockGiven),
            _delete(f"{path}/{{key}}", "Take it out of the file.", _deletes(api, kind, "key")),
        ]
    found += [
        _put("/streams/{name}", "Change a stream in the file, or make it.", _put_stream(api), StreamGiven),
        _delete("/streams/{name}", "Take a stream out of the file.", _deletes(api, "streams", "name")),
    ]
    return found


_REVISION: Final = Parameter(name="revision", text="Of the file that is meant; another one is not changed.")
_CONFLICT: Final = {409: "The file is not of this revision, or is being changed now."}


def _made(
    method: str,
    path: str,
    summary: str,
    handler: Any,
    result: Any,
    parameters: Sequence[Parameter] = (),
    **more: Any,
) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        summary=summary,
        tag="config",
        handler=handler,
        access=Access.EDIT,
        result=result,
        parameters=parameters,
        **more,
    )


def _put(path: str, summary: str, handler: Any, body: Any) -> Endpoint:
    return _made("PUT", path, summary, handler, BlockChanged, body=body, errors=_CONFLICT)


def _delete(path: str, summary: str, handler: Any) -> Endpoint:
    return _made("DELETE", path, summary, handler, None, (_REVISION,), status=204, errors=_CONFLICT)


def _lists(api: BlocksApi, kind: str) -> Any:
    return lambda call: api.list(kind, call.query)


def _items(api: BlocksApi, kind: str) -> Any:
    return lambda call: api.item(kind, call.path["key"])


def _puts(api: BlocksApi, kind: str) -> Any:
    def put(call: Call) -> Any:
        return api.put(kind, call.path["key"], call.body["options"], call.body.get("revision", ""), call.user)

    return put


def _deletes(api: BlocksApi, kind: str, value: str) -> Any:
    return lambda call: api.delete(kind, call.path[value], call.query.get("revision", ""), call.user)


def _put_stream(api: BlocksApi) -> Any:
    def put(call: Call) -> Any:
        given: dict[str, Any] = {}
        if "inputs" in call.body:
            inputs = call.body["inputs"]
            given["input"] = [each["url"] for each in inputs] if inputs is not None else None
        given.update({key: value for key, value in call.body.items() if key not in ("inputs", "revision")})
        return api.put("streams", call.path["name"], given, call.body.get("revision", ""), call.user)

    return put


def _statements(value: Value) -> list[list[str]]:
    if value is None:
        return []
    if isinstance(value, bool):
        return [["true" if value else "false"]]
    if isinstance(value, list):
        return [[each] if isinstance(each, str) else each for each in value]
    return [[str(value)]]


def _info(name: str, options: Statements, revision: str) -> BlockInfo:
    told: dict[str, str | list[str | list[str]]] = {}
    for word, statements in options.items():
        short: list[str | list[str]] = [each[0] if len(each) == 1 else each for each in statements]
        only = short[0] if len(short) == 1 else None
        told[word] = only if isinstance(only, str) else short
    return BlockInfo(name=name, options=told, revision=revision)


def _bad(checked: Checked) -> Answered:
    """The errors of a file, each with its place in it as it would be."""
    errors = [
        {
            "status": "400",
            "code": "bad_config",
            "title": each.text,
            "meta": {"line": each.line, "column": each.column},
        }
        for each in checked.errors
    ]
    told: Errors = {"errors": errors}  # type: ignore[typeddict-item]  # built above
    return Answered(400, told)
