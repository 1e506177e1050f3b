"""C{/-/auth}: what a cache in front and this node would read as different names is allowed to nobody."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from restreamer.hls.auth_route import AUTH_PATH, ORIGINAL, auth_route
from restreamer.hls.paths import HlsPath
from restreamer.http1.reply import HttpRequest
from restreamer.seams import Grant, OpenRequest

SEGMENT = "2026/11/23/07/19/37-02000.ts"


@define
class OpenGate:
    """Lets everybody in, as the gate does with names that have no rules. @ivar asked: names."""

    asked: list[str] = field(factory=list)

    async def open(self, request: OpenRequest) -> Grant:
        """Grant it."""
        self.asked.append(request.name)
        return Grant(request=request)


async def live(path: HlsPath) -> None:
    """It is of no archive."""


class AuthRouteTests(SynchronousTestCase):
    """What is asked, by the cache's words."""

    def status(self, original: str) -> int:
        """The answer to a question about C{original}."""
        self.gate = OpenGate()
        asked = HttpRequest(
            method="GET", path=AUTH_PATH, query="", headers={ORIGINAL: original}, peer="192.0.2.1"
        )
        told = auth_route(self.gate, live, lambda name: name != "gone")(asked)
        reply = self.successResultOf(Deferred.fromCoroutine(told)) if told is not None else None  # type: ignore[arg-type]
        return int(getattr(reply, "status", 0))

    def test_segments(self) -> None:
        for path, name in (
            (f"/pay/{SEGMENT}?token=t", "pay"),
            (f"/pay/one/{SEGMENT}", "pay/one"),
            (f"/p%61y/{SEGMENT}", "pay"),
            (f"/films/a%20b.mp4/{SEGMENT}?x=//", "films/a b.mp4"),
        ):
            with self.subTest(path):
                self.assertEqual((self.status(path), set(self.gate.asked)), (200, {name}))

    def test_who_is_gone(self) -> None:
        """A stream that was taken out has no rules any more, and nobody asks: its segments are nobody's."""
        for name in ("gone", "g%6fne"):
            self.assertEqual((self.status(f"/{name}/{SEGMENT}"), self.gate.asked), (403, []))

    def test_what_a_cache_reads_otherwise(self) -> None:
        """nginx takes many slashes for one and drops what is behind #: it has the segment of another name."""
        for path in (
            f"//pay/{SEGMENT}",
            f"///pay/{SEGMENT}",
            f"/pay//{SEGMENT}",
            f"/pay/2026//{SEGMENT[5:]}",
            f"/pay/{SEGMENT}#/free/{SEGMENT}",
            f"/pay/{SEGMENT}?#/free/{SEGMENT}",
            f"/free/../pay/{SEGMENT}",
            f"/free/%2e%2e/pay/{SEGMENT}",
            f"/%2fpay/{SEGMENT}",
            f"/pay/./{SEGMENT}",
            f"/free\\pay/{SEGMENT}",
        ):
            with self.subTest(path):
                self.assertEqual((self.status(path), self.gate.asked), (403, []))
