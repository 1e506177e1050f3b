"""The endpoints on twisted.web: who may, what came, what goes back, for all of them in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from typing_extensions import override

from restreamer.http1.forwarded import TrustedProxies
from restreamer.http1.reply import HttpRequest
from restreamer.logs import Logger
from restreamer.web.api_error import ApiError, to_json
from restreamer.web.v3.authority import Authority
from restreamer.web.v3.endpoint import MAX_BODY, MAX_VALUE, Answered, Call, Endpoint, Routes, Text, read_body

_log = Logger()

_JSON: Final = b"application/json; charset=utf-8"
#: Parameters of a query, at most.
MAX_PARAMETERS: Final = 50


class ApiResource(Resource):
    """Everything below C{/streamer/api/v3}, and what else has endpoints.

    @param authority: says who may. @param proxies: of whom C{X-Forwarded-For} is believed.
    """

    isLeaf = True

    def __init__(self, routes: Routes, authority: Authority, proxies: TrustedProxies | None = None) -> None:
        super().__init__()
        self._routes = routes
        self._authority = authority
        self._proxies = proxies if proxies is not None else TrustedProxies()

    @override
    def render(self, request: Request) -> bytes | int:
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.responseHeaders.removeHeader(b"Server")
        try:
            endpoint, call = self._call(request)
            outcome = endpoint.handler(call)
        except ApiError as error:
            return self._refuse(request, error)
        except Exception:
            _log.failure("a request of the API failed")
            return self._refuse(request, ApiError(500, "internal_error", "internal error"))
        if callable(outcome):
            # It goes on by itself until the client leaves.
            outcome(request)
            return NOT_DONE_YET
        if not isinstance(outcome, Awaitable):
            return self._answer(request, endpoint, outcome)
        return _Waiting(request, endpoint, self).wait(outcome)

    def most_body(self, request: HttpRequest) -> int:
        """Bytes of a body that a client may send with this request: a long one only who may use it."""
        try:
            endpoint, _ = self._routes.find(request.method, request.path)
            if endpoint.most_body > MAX_BODY:
                self._authority.check(endpoint.access, request.headers.get("authorization", ""), request.peer)
        except ApiError:
            return MAX_BODY
        return endpoint.most_body

    def _call(self, request: Request) -> tuple[Endpoint, Call]:
        method = request.method.decode("latin-1")
        path = unquote_to_bytes(request.path).decode("utf-8", "replace")
        endpoint, values = self._routes.find(method, path)
        peer = self._client(request)
        user = self._authority.check(endpoint.access, request.getHeader("authorization") or "", peer)
        body = None
        if endpoint.method != "GET":
            data = request.content.read() if request.content is not None else b""
            self._check_origin(request, endpoint, data)
            body = read_body(endpoint, data)
        return endpoint, Call(values, _query(request), body, peer, user)

    def _client(self, request: Request) -> str:
        peer = str(getattr(request.getClientAddress(), "host", "") or "unix")
        lines = request.requestHeaders.getRawHeaders("x-forwarded-for") or ()
        return self._proxies.client(peer, ",".join(lines))

    def _check_origin(self, request: Request, endpoint: Endpoint, data: bytes) -> None:
        """Refuse what a page of another site can have a browser send without asking: a browser that knows the
        password adds it by itself. What is JSON, or is DELETE, it asks about before, and gets no permission.
        What has no body is taken without a type from who is no browser: those say where the page came from
        (Fetch standard, section 3.2; Fetch Metadata section 2.4).
        """
        if endpoint.method == "DELETE":
            return
        browser = request.getHeader("origin") or request.getHeader("sec-fetch-site")
        if not data and request.getHeader("content-type") is None and browser is None:
            return
        given = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if given != "application/json":
            raise ApiError(415, "unsupported_media_type", "Content-Type has to be application/json")

    def _refuse(self, request: Request, error: ApiError) -> bytes:
        if error.allow:
            request.setHeader(b"Allow", error.allow.encode("ascii"))
        if error.status == 401:
            request.setHeader(b"WWW-Authenticate", b'Basic realm="Restreamer", charset="UTF-8"')
        if error.status == 503:
            request.setHeader(b"Retry-After", b"5")
        if error.status == 429:
            request.setHeader(b"Retry-After", b"60")
        return _written(request, error.status, _JSON, to_json(error.body()))

    def _answer(self, request: Request, endpoint: Endpoint, outcome: Any) -> bytes:
        status = endpoint.status
        if isinstance(outcome, Answered):
            status, outcome = outcome.status, outcome.value
        if isinstance(outcome, Text):
            return _written(request, status, outcome.content_type.encode("ascii"), outcome.body)
        if outcome is None:
            request.setResponseCode(status)
            return b""
        return _written(request, status, _JSON, to_json(outcome))


class _Waiting:
    """A request whose answer takes a while."""

    def __init__(self, request: Request, endpoint: Endpoint, resource: ApiResource) -> None:
        self._request = request
        self._endpoint = endpoint
        self._resource = resource
        self._gone = False

    def wait(self, work: Awaitable[Any]) -> int:
        """Answer when C{work} is done, or cancel it when the client leaves."""
        waiting: Deferred[Any] = Deferred.fromCoroutine(_awaited(work))
        _ = self._request.notifyFinish().addErrback(self._lost, waiting)
        _ = waiting.addCallbacks(self._answered, self._failed)
        _ = waiting.addErrback(lambda failure: _log.failure("an answer of the API failed", failure))
        return NOT_DONE_YET

    def _answered(self, outcome: Any) -> None:
        if not self._gone:
            self._finish(self._resource._answer(self._request, self._endpoint, outcome))

    def _failed(self, failure: Failure) -> None:
        if self._gone:
            return
        error = failure.value
        if not isinstance(error, ApiError):
            _log.failure("a request of the API failed", failure)
            error = ApiError(500, "internal_error", "internal error")
        self._finish(self._resource._refuse(self._request, error))

    def _finish(self, body: bytes) -> None:
        if body:
            self._request.write(body)
        self._request.finish()

    def _lost(self, failure: Failure, waiting: Deferred[Any]) -> None:
        self._gone = True
        waiting.cancel()


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


def _written(request: Request, status: int, content_type: bytes, body: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return b"" if request.method == b"HEAD" else body


def _query(request: Request) -> Mapping[str, str]:
    """The query's parameters.

    @raise ApiError: 400: one stands twice, or there are too many.
    """
    raw = request.uri.partition(b"?")[2].decode("latin-1")
    values: dict[str, str] = {}
    try:
        for key, value in parse_qsl(raw, keep_blank_values=True, max_num_fields=MAX_PARAMETERS):
            if key in values:
                raise ApiError(400, "bad_query", "a parameter stands twice")
            values[key] = value[: 2 * MAX_VALUE]
    except ValueError:
        raise ApiError(400, "bad_query", "too many parameters") from None
    return values
