"""Endpoints of what is configured and has no figures of its own: templates, VOD locations, auth backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from attrs import define, field

from restreamer.web.api_error import ApiError
from restreamer.web.v3.endpoint import Access, Endpoint
from restreamer.web.v3.listing import PARAMETERS, Listing
from restreamer.web.v3.reading import Envelope, Timing


class UrlInfo(TypedDict):
    """An address, without what is secret in it."""

    url: str


class TemplateInfo(TypedDict, total=False):
    """What streams take from a template; C{position}: its place in the configuration, from 0.

    Seconds; C{chunk_duration} milliseconds. C{protocols} is left out where all are allowed.
    """

    name: str
    position: int
    prefix: str
    title: str
    comment: str
    static: bool
    disabled: bool
    inputs: Sequence[UrlInfo]
    pushes: Sequence[UrlInfo]
    segment_duration: int
    segment_count: int
    chunk_duration: int
    source_timeout: float
    clients_timeout: float
    url_prefix: str
    protocols: Sequence[str]
    dvr: str
    guarded: bool


class VodInfo(TypedDict):
    """Where files lie. C{guarded}: not everybody may play them. C{position}: as of templates."""

    name: str
    position: int
    storages: Sequence[UrlInfo]
    guarded: bool


class RuleCount(TypedDict):
    """How many rules of each kind there are."""

    tokens: int
    ips: int
    countries: int
    user_agents: int


class AuthBackendInfo(TypedDict):
    """Who is asked, after its own rules. C{allow_default}: who nobody decides about may."""

    name: str
    position: int
    backends: Sequence[UrlInfo]
    allow: RuleCount
    deny: RuleCount
    allow_default: bool


class TemplateList(Envelope):
    """Templates, in the order of the configuration."""

    templates: Sequence[TemplateInfo]
    timing: Timing


class VodList(Envelope):
    """VOD locations, in the order of the configuration."""

    vods: Sequence[VodInfo]
    timing: Timing


class AuthBackendList(Envelope):
    """Auth backends, in the order of the configuration."""

    auth_backends: Sequence[AuthBackendInfo]
    timing: Timing


@define
class Collection:
    """One of them.

    @ivar entries: all of it now, each with a C{name}.
    """

    name: str
    entry: Any
    listed: Any
    tag: str
    summary: str
    entries: Callable[[], Iterable[Mapping[str, Any]]] = field(repr=False)
    seconds: Callable[[], float] = field(repr=False)

    def endpoints(self) -> list[Endpoint]:
        """Its list, and one of it."""

        def made(path: str, summary: str, handler: Any, result: Any, **more: Any) -> Endpoint:
            return Endpoint(
                method="GET",
                path=path,
                summary=summary,
                tag=self.tag,
                handler=handler,
                access=Access.PRIVATE,
                result=result,
                **more,
            )

        return [
            made(
                f"/{self.name}",
                self.summary,
                lambda call: self.page(call.query),
                self.listed,
                parameters=PARAMETERS,
            ),
            made(
                f"/{self.name}/{{key}}",
                "One of them.",
                lambda call: self.item(call.path["key"]),
                self.entry,
            ),
        ]

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """One page. @raise ApiError: 400."""
        entries = {str(each["name"]): each for each in self.entries()}
        listing = Listing(self.name, self.entry, lambda: entries, entries.get, self.seconds, ordered=True)
        return listing.page(query)

    def item(self, name: str) -> Mapping[str, Any]:
        """One of it. @raise ApiError: 404."""
        for each in self.entries():
            if each["name"] == name:
                return each
        raise ApiError(404, "not_found", f"there is no such thing among {self.name}")


def configured_endpoints(
    templates: Callable[[], Iterable[TemplateInfo]],
    vods: Callable[[], Iterable[VodInfo]],
    auth_backends: Callable[[], Iterable[AuthBackendInfo]],
    seconds: Callable[[], float],
) -> list[Endpoint]:
    """All of them."""
    return [
        endpoint
        for collection in (
            Collection(
                "templates",
                TemplateInfo,
                TemplateList,
                "streams",
                "Templates of streams.",
                templates,
                seconds,
            ),
            Collection("vods", VodInfo, VodList, "vod", "Where files for playing lie.", vods, seconds),
            Collection(
                "auth_backends",
                AuthBackendInfo,
                AuthBackendList,
                "sessions",
                "Who is asked about viewers.",
                auth_backends,
                seconds,
            ),
        )
        for endpoint in collection.endpoints()
    ]
