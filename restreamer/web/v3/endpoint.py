"""One thing the API can be asked: its path, who may, what comes in and out, and who answers.

Requests are dispatched by these values and the OpenAPI document is made of them, so neither can tell of
something that the other does not know.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NotRequired, TypedDict

import msgspec
from attrs import define, field, frozen

from restreamer.web.api_error import ApiError

#: Everything is below this path.
BASE: Final = "/streamer/api/v3"
#: Bytes a request body usually may have.
MAX_BODY: Final = 64 * 1024
#: Characters of a value in a query.
MAX_VALUE: Final = 2048
#: Characters of a value in a path: no name of anything is longer.
MAX_PATH_VALUE: Final = 255


class Access(Enum):
    """Who may ask.

    OPEN: everybody. VIEW: everybody while no C{view_auth} is configured, then who knows it. PRIVATE: who
    knows C{view_auth} or C{edit_auth}; nobody while neither is configured. EDIT: who knows C{edit_auth}.
    """

    OPEN = "open"
    VIEW = "view"
    PRIVATE = "private"
    EDIT = "edit"


class PlaceInfo(TypedDict):
    """Where something is in a file, from 1; 0: nowhere in it."""

    line: int
    column: int


class ErrorInfo(TypedDict):
    """One error: the HTTP status as text, a word for programs, a sentence for people.

    C{meta}: where in the configuration file it would be.
    """

    status: str
    code: str
    title: str
    meta: NotRequired[PlaceInfo]


class Errors(TypedDict):
    """What comes instead of an answer."""

    errors: Sequence[ErrorInfo]


@frozen(kw_only=True)
class Parameter:
    """A value in the query.

    @ivar schema: JSON Schema of it. @ivar text: what it means, in a sentence.
    """

    name: str
    text: str
    schema: Mapping[str, Any] = field(factory=lambda: {"type": "string"})
    required: bool = False


@define
class Call:
    """One request of an endpoint.

    @ivar path: the values in its path; @ivar query: those in its query, each once.
    @ivar body: what was sent, as the endpoint's type; None where it takes none, or none came.
    @ivar peer: the client's address. @ivar user: who proved a password: C{"view"}, C{"edit"} or empty.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    peer: str = ""
    user: str = ""


@frozen
class Answered:
    """An answer with another status than the usual one. @ivar value: None: it has no body."""

    status: int
    value: Any = None


@frozen
class Text:
    """An answer that is not JSON."""

    body: bytes
    content_type: str


Handler = Callable[[Call], Any | Awaitable[Any]]


@frozen(kw_only=True)
class Endpoint:
    """See the module.

    @ivar method: C{GET}, C{POST}, C{PUT} or C{DELETE}; GET answers HEAD too.
    @ivar path: below L{BASE} (or from the root, with C{rooted}); C{{name}} stands for a stream's name,
        C{{id}} for a session's, C{{key}} for that of something else. That of the last one may have slashes.
    @ivar summary: a sentence. @ivar tag: which group it belongs to.
    @ivar body: type of what is sent, a TypedDict; None: nothing is. @ivar result: type of a good answer;
        None: it has no body, or one of C{content_type}. @ivar status: of a good answer.
    @ivar errors: other answers: status to when it comes. 400, 401, 403, 404, 405, 413, 414, 429, 431 and 503
        are added where they can come. @ivar error_results: types of those that are not L{Errors}.
    @ivar rooted: its path begins at the root. @ivar body_required: an empty body is refused.
    @ivar most_body: bytes of a body; more than L{MAX_BODY} is taken of who may ask only.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    tag: str
    access: Access = Access.VIEW
    parameters: Sequence[Parameter] = ()
    body: Any = None
    result: Any = None
    status: int = 200
    errors: Mapping[int, str] = field(factory=dict)
    error_results: Mapping[int, Any] = field(factory=dict)
    rooted: bool = False
    content_type: str = "application/json"
    body_required: bool = True
    most_body: int = MAX_BODY

    @property
    def full_path(self) -> str:
        """With what stands before it."""
        return self.path if self.rooted else BASE + self.path

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values in its path."""
        return tuple(re.findall(r"\{([a-z_]+)\}", self.path))


class Routes:
    """Endpoints by path: finds the one that is asked."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        by_path: dict[str, dict[str, Endpoint]] = {}
        for each in endpoints:
            methods = by_path.setdefault(each.full_path, {})
            if each.method in methods:
                raise ValueError(f"{each.method} {each.full_path} twice")
            methods[each.method] = each
        # What has more words of its own is more special: …/{name}/stop before …/{name}.
        order = sorted(by_path, key=lambda path: (-len(re.sub(r"\{[a-z_]+\}", "", path)), path))
        self._paths = [(_pattern(path), by_path[path]) for path in order]

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        """Who answers C{method} of C{path} (decoded), and the values in the path.

        @raise ApiError: 404, 405.
        """
        for pattern, methods in self._paths:
            matched = pattern.fullmatch(path)
            if matched is None:
                continue
            endpoint = methods.get("GET" if method == "HEAD" else method)
            if endpoint is None:
                allow = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})
                raise ApiError(
                    405, "method_not_allowed", f"this resource has {', '.join(allow)}", ", ".join(allow)
                )
            return endpoint, matched.groupdict()
        raise ApiError(404, "not_found", "there is no such resource")


def read_body(endpoint: Endpoint, data: bytes) -> Any:
    """The body of a request, as the endpoint's type.

    @raise ApiError: 400: it is not what the endpoint takes.
    """
    if endpoint.body is None:
        return None
    if not data.strip():
        if endpoint.body_required:
            raise ApiError(400, "bad_body", "a JSON body is missing")
        return None
    try:
        return msgspec.json.decode(data, type=endpoint.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        # The text names the place and what was expected there, not the value.
        raise ApiError(400, "bad_body", f"the body cannot be used: {str(error)[:300]}") from None


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{([a-z_]+)\}", path)
    last = len(parts) - 2
    text = ""
    for index, part in enumerate(parts):
        if index % 2 == 0:
            text += re.escape(part)
        elif index == last:
            text += f"(?P<{part}>.{{1,{MAX_PATH_VALUE}}})"
        else:
            text += f"(?P<{part}>[^/]{{1,{MAX_PATH_VALUE}}})"
    return re.compile(text + "/?", re.DOTALL)
