"""C{/streamer/api/v3/streams/NAME/dvr/…} on twisted.web: answers that wait for a disk or a source."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request

from restreamer.logs import Logger
from restreamer.web.api import ApiError, to_json
from restreamer.web.dvr_api import METHODS, DvrApi

_log = Logger()

#: What stands behind the name of a stream.
_RESOURCES: Final = ("ranges", "locks")
#: Who was asked on behalf of somebody else says so with one of these.
_PASSED_ON: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")


def archive_path(path: Sequence[bytes]) -> tuple[str, str] | None:
    """The stream and the resource that a path below C{/streamer/api/v3} names, if it is one of an archive."""
    words = [part.decode("utf-8", "replace") for part in path]
    if len(words) < 4 or words[0] != "streams" or words[-2] != "dvr" or words[-1] not in _RESOURCES:
        return None
    return "/".join(words[1:-2]), words[-1]


@define(eq=False)
class ArchiveRequest:
    """One request about the archive of a stream."""

    _api: DvrApi
    _request: Request
    _gone: bool = False

    def answer(self, name: str, resource: str) -> int:
        """Answer, soon. @param resource: C{ranges} or C{locks}."""
        work: Deferred[dict[str, Any]] = Deferred.fromCoroutine(self._work(name, resource))
        _ = self._request.notifyFinish().addErrback(self._lost, work)
        _ = work.addCallbacks(lambda value: self._finish(200, value), self._failed)
        return NOT_DONE_YET

    async def _work(self, name: str, resource: str) -> dict[str, Any]:
        request = self._request
        method = request.method.decode("latin-1")
        allowed = METHODS if resource == "locks" else METHODS[:2]
        if method not in allowed:
            raise ApiError(
                405, "method_not_allowed", f"{resource} takes {', '.join(allowed)}", ", ".join(allowed)
            )
        if resource == "ranges":
            return await self._api.ranges(name)
        body = b""
        if method not in ("GET", "HEAD"):
            self._check_right()
            if request.content is not None:
                body = request.content.read()
        return await self._api.locks(name, method, _query(request), body)

    def _check_right(self) -> None:
        """Changes are taken from this machine alone, and from no page that a browser shows.

        @raise ApiError: 403.
        """
        request = self._request
        host = str(getattr(request.getClientAddress(), "host", ""))
        try:
            own = ipaddress.ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            own = False
        if not own or any(request.getHeader(name) is not None for name in _PASSED_ON):
            raise ApiError(403, "denied", "changes are taken from the node's own machine only")
        if request.getHeader(b"origin") is not None:
            raise ApiError(403, "denied", "changes are not taken from web pages")

    def _failed(self, failure: Failure) -> None:
        error = failure.check(ApiError) and failure.value
        if not isinstance(error, ApiError):
            if self._gone:
                return
            _log.failure("a request about an archive failed", failure)
            error = ApiError(500, "internal_error", "internal error")
        if error.allow:
            self._request.setHeader(b"Allow", error.allow.encode("ascii"))
        self._finish(error.status, error.body())

    def _lost(self, failure: Failure, work: Deferred[dict[str, Any]]) -> None:
        """The client is gone."""
        self._gone = True
        work.cancel()

    def _finish(self, status: int, value: Mapping[str, Any]) -> None:
        if self._gone:
            return
        request = self._request
        body = to_json(value)
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", b"application/json; charset=utf-8")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        if status == 503:
            request.setHeader(b"Retry-After", b"5")
        if request.method != b"HEAD":
            request.write(body)
        request.finish()


def _query(request: Request) -> dict[str, str]:
    raw = request.uri.partition(b"?")[2].decode("latin-1")
    try:
        return dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise ApiError(400, "bad_query", "too many parameters") from None
