"""The archive of a stream in the API: its ranges, and its locked ranges, which can be changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import define, field

from restreamer.dvr.locks import MAX_MS, Ranges
from restreamer.dvr.seams import Holdings
from restreamer.errors import Reason, Refused
from restreamer.media.names import valid_stream_name
from restreamer.media.timebase import ticks_to_ms
from restreamer.web.api_error import ApiError
from restreamer.web.dvr_info import CacheInfo, CopyInfo, ReadInfo, VolumeInfo
from restreamer.web.v3.listing import Listing

_STATUSES: Final = {
    Reason.NOT_FOUND: (404, "not_found"),
    Reason.BAD_NAME: (400, "bad_request"),
    Reason.DENIED: (403, "denied"),
}


class DvrDirectory(Protocol):
    """Where the API finds archives."""

    def volumes(self) -> Sequence[VolumeInfo]:
        """The volumes, by root."""
        ...

    def cached(self) -> Sequence[CacheInfo]:
        """The segment caches, by root."""
        ...

    def copied(self) -> Sequence[CopyInfo]:
        """The object stores."""
        ...

    def reads(self) -> Mapping[str, ReadInfo]:
        """Segments of the past that were read, by place."""
        ...

    async def holdings(self, name: str) -> Holdings:
        """What there is of a stream."""
        ...

    async def locks(self, name: str) -> Ranges:
        """What is locked of it."""
        ...

    async def lock(self, name: str, start: int, end: int) -> Ranges:
        """Lock a range, UTC milliseconds."""
        ...

    async def unlock(self, name: str, start: int, end: int) -> Ranges:
        """Unlock a range."""
        ...


@define
class DvrApi:
    """The archives.

    @ivar directory: where they are found; @ivar seconds: monotonic seconds, for C{timing}.
    """

    directory: DvrDirectory
    seconds: Callable[[], float] = field(repr=False)

    def volumes(self, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of the C{dvrs} collection, with the caches, object stores and reads beside it.

        @raise ApiError: 400.
        """
        found = {each["root"]: each for each in self.directory.volumes()}
        listing = Listing("dvrs", VolumeInfo, lambda: found, found.get, self.seconds, key="root")
        return {
            **listing.page(query),
            "caches": list(self.directory.cached()),
            "copies": list(self.directory.copied()),
            "reads": dict(self.directory.reads()),
        }

    def volume(self, key: str) -> VolumeInfo:
        """One volume, by its folder, with or without the C{/} at its begin.

        @raise ApiError: 404.
        """
        for each in self.directory.volumes():
            if each["root"].lstrip("/") == key.lstrip("/"):
                return each
        raise ApiError(404, "not_found", "nothing is recorded to such a folder")

    async def ranges(self, name: str) -> dict[str, Any]:
        """What can be played of a stream.

        @raise ApiError: 404, 503.
        """
        try:
            held = await self.directory.holdings(_checked(name))
        except Refused as refused:
            raise _error(refused) from None
        spans = [(ticks_to_ms(span.start), ticks_to_ms(span.end)) for span in held.spans]
        return {**_collection("ranges", _shown(spans)), "bytes": held.size, "complete": held.complete}

    async def locks(
        self, name: str, method: str, query: Mapping[str, str], body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What is locked of a stream, after a change when C{method} asks for one: POST and PUT lock, DELETE
        unlocks.

        @param query, body: C{opened_at} and C{closed_at}, milliseconds; or C{from} and C{duration}, seconds.
        @raise ApiError: 400, 404, 503.
        """
        try:
            name = _checked(name)
            if method in ("GET", "HEAD"):
                found = await self.directory.locks(name)
            else:
                start, end = _range(query, body)
                change = self.directory.unlock if method == "DELETE" else self.directory.lock
                found = await change(name, start, end)
        except Refused as refused:
            raise _error(refused) from None
        return _collection("locks", _shown(found))


def _checked(name: str) -> str:
    if not valid_stream_name(name):
        raise ApiError(404, "not_found", "there is no such stream")
    return name


def _error(refused: Refused) -> ApiError:
    status, code = _STATUSES.get(refused.reason, (503, "not_ready"))
    return ApiError(status, code, refused.text)


def _shown(ranges: Sequence[tuple[int, int]]) -> list[dict[str, int]]:
    return [{"opened_at": start, "closed_at": end} for start, end in ranges]


def _collection(name: str, found: Sequence[Any]) -> dict[str, Any]:
    return {name: list(found), "estimated_count": len(found), "next": None, "prev": None}


def _range(query: Mapping[str, str], body: Mapping[str, Any]) -> tuple[int, int]:
    """The range of a request, in milliseconds."""
    given: dict[str, Any] = {key: query[key] for key in query.keys() & _KEYS}
    given.update({key: body[key] for key in body.keys() & _KEYS})
    if "opened_at" in given or "closed_at" in given:
        start, end = _whole(given, "opened_at"), _whole(given, "closed_at")
    else:
        start = _whole(given, "from") * 1000
        end = start + _whole(given, "duration") * 1000
    if not 0 <= start < end <= MAX_MS:
        raise ApiError(400, "bad_range", "the range is empty, or far away")
    return start, end


_KEYS: Final = {"opened_at", "closed_at", "from", "duration"}


def _whole(given: Mapping[str, Any], key: str) -> int:
    value = given.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_MS:
        return value
    raise ApiError(400, "bad_range", f"{key} is missing, or not a whole number")
