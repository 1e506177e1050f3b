"""Streams with DASH routes, and manifests taken apart."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from restreamer.dash.routes import dash_routes
from restreamer.http1.reply import FullReply, HttpRequest, Reply
from restreamer.live.stream import Stream
from restreamer.seams import OpenRequest
from restreamer.testing.media import START
from test.dash.schema import NAMESPACE, checked


@define(eq=False)
class OneStream:
    """A watch point of one stream."""

    stream: Stream
    asked: list[OpenRequest] = field(factory=list)

    async def watch(self, request: OpenRequest) -> Stream:
        self.asked.append(request)
        return self.stream


@frozen
class Shown:
    """A representation of a period. @ivar lines: (number, start, duration) of each segment, ticks."""

    period: str
    start: str
    name: str
    init: str
    media: str
    offset: int
    lines: tuple[tuple[int, int, int], ...]
    facts: dict[str, str | None]


def shown(text: str) -> list[Shown]:
    """Each representation of a manifest, which is checked against the schema."""
    found = []
    for period in checked(text).iter(NAMESPACE + "Period"):
        for adaptation in period.iter(NAMESPACE + "AdaptationSet"):
            for each in adaptation.iter(NAMESPACE + "Representation"):
                template = each.find(NAMESPACE + "SegmentTemplate")
                assert template is not None
                first = int(template.get("startNumber", "1"))
                lines = tuple(
                    (first + index, int(line.get("t", "")), int(line.get("d", "")))
                    for index, line in enumerate(template.iter(NAMESPACE + "S"))
                )
                found.append(
                    Shown(
                        period.get("id", ""),
                        period.get("start", ""),
                        each.get("id", ""),
                        template.get("initialization", ""),
                        template.get("media", ""),
                        int(template.get("presentationTimeOffset", "0")),
                        lines,
                        {**adaptation.attrib, **each.attrib, **template.attrib},
                    )
                )
    return found


class DashCase(SynchronousTestCase):
    """Asks DASH routes of a stream."""

    def routes(self, stream: Stream) -> None:
        """From now on requests are answered from C{stream}."""
        self.point = OneStream(stream)
        self.route = dash_routes(self.point, lambda: START)

    def reply(self, path: str, query: str = "", method: str = "GET") -> FullReply | None:
        """What is answered; None: it is not ours. Raises what it is refused with."""
        answer = self.route(HttpRequest(method=method, path=path, query=query, peer="192.0.2.1"))
        if answer is None or isinstance(answer, FullReply):
            return answer

        async def wait() -> Reply:
            return await cast("Awaitable[Reply]", answer)

        found: list[object] = []
        _ = Deferred.fromCoroutine(wait()).addBoth(found.append)
        (result,) = found
        if isinstance(result, Failure):
            assert result.value is not None
            raise result.value
        assert isinstance(result, FullReply)
        return result

    def text(self, path: str = "/x/index.mpd", query: str = "") -> str:
        reply = self.reply(path, query)
        assert reply is not None
        self.assertEqual(reply.status, 200)
        return reply.body.decode()
