"""C{allowed_dvr_ranges}, and what caches ask, by the real routes of archives and the real gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from typing_extensions import override

from restreamer.dash.archive_routes import archive_dash_routes
from restreamer.dvr.timeline import ArchiveHours
from restreamer.errors import Reason, Refused
from restreamer.hls.archive_routes import archive_hls_routes
from restreamer.hls.auth_route import AUTH_PATH, auth_route
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.sessions.answers import Answer, Verdict
from test.dvr.fake_archive import FakeArchive, made
from test.e2e.playlists import parse
from test.sessions.rig import GateTestCase

BASE = 1_700_006_400 + 1000
PEER = "192.0.2.1"


class RangesCase(GateTestCase):
    """An archive of eight segments of 5 s; the backend allows the 2nd to the 4th, and half of the 5th."""

    @override
    def setUp(self) -> None:
        self.make()
        self.segments = [made((BASE + at * 5) * TICKS_PER_SECOND) for at in range(8)]
        archive = FakeArchive()
        for segment in self.segments:
            archive.keep(segment)
        hours = ArchiveHours(archive, self.utc, self.clock.seconds)
        more: tuple[Any, ...] = (self.in_thread, self.clock, self.utc)
        hls = archive_hls_routes(
            hours, self.gate, mux_segment, *more, live=lambda request: None, window=lambda name: None
        )
        dash = archive_dash_routes(hours, self.gate, *more)
        self.routes = [auth_route(self.gate, hls.span, lambda name: True), dash.route, hls.route]
        self.allow(((BASE + 5.0, BASE + 22.5),))

    def allow(self, ranges: tuple[tuple[float, float], ...] | None) -> None:
        self.backend.say = Answer(verdict=Verdict.ALLOW, ranges=ranges)

    def utc(self) -> int:
        return int((BASE + 9000 + self.clock.seconds()) * TICKS_PER_SECOND)

    async def in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    def get(self, path: str, query: str = "token=t", peer: str = PEER, **headers: str) -> int | FullReply:
        """The answer, or the status of a refusal."""
        request = HttpRequest(method="GET", path=path, query=query, peer=peer, headers=headers)
        for route in self.routes:
            try:
                outcome = route(request)
                if isinstance(outcome, Awaitable):
                    outcome = self.successResultOf(Deferred.fromCoroutine(_wait(outcome)))
            except Refused as refused:
                return 403 if refused.reason is Reason.DENIED else 404
            if outcome is not None:
                assert isinstance(outcome, FullReply)
                return outcome
        return 404

    def status(self, path: str, query: str = "token=t", peer: str = PEER) -> int:
        reply = self.get(path, query, peer)
        return reply if isinstance(reply, int) else reply.status

    def auth(self, uri: str, peer: str = PEER) -> int:
        reply = self.get(AUTH_PATH, "", peer, **{"x-original-uri": uri})
        return reply if isinstance(reply, int) else reply.status

    def listed(self, path: str) -> list[str]:
        reply = self.get(path)
        assert isinstance(reply, FullReply), reply
        return [each.uri.partition("?")[0] for each in parse(reply.body.decode()).segments]


async def _wait(outcome: Awaitable[Any]) -> Any:
    try:
        return await outcome
    except Refused as refused:
        return FullReply(status=403 if refused.reason is Reason.DENIED else 404)


class RangesTests(RangesCase):
    """What is outside is not had by guessing."""

    def uris(self) -> tuple[list[str], list[str]]:
        """Segments as MPEG-TS, and CMAF, of all of the archive: from a time when all was allowed."""
        self.allow(None)
        whole = f"archive-{BASE}-40"
        query = "token=other"
        ts = self.with_query(f"/x/{whole}.m3u8", query)
        return [f"/x/{uri}" for uri in ts], [f"/x/tracks-v1/{each.number}.m4s" for each in self.segments]

    def with_query(self, path: str, query: str) -> list[str]:
        reply = self.get(path, query)
        assert isinstance(reply, FullReply), reply
        return [each.uri.partition("?")[0] for each in parse(reply.body.decode()).segments]

    def test_guessed(self) -> None:
        """Each segment, by MPEG-TS, by CMAF, and as a cache asks about it."""
        ts, cmaf = self.uris()
        self.allow(((BASE + 5.0, BASE + 22.5),))
        self.assertEqual(self.status(f"/x/archive-{BASE + 5}-15.m3u8"), 200)
        allowed = [403, 200, 200, 200, 200, 403, 403, 403]
        self.assertEqual([self.status(path) for path in ts], allowed)
        self.assertEqual([self.status(path) for path in cmaf], allowed)
        self.assertEqual([self.auth(f"{path}?token=t") for path in ts], allowed)
        self.assertEqual([self.auth(f"{path}?token=t") for path in cmaf], allowed)
        # With DASH the session is another one, the pieces are the same.
        self.assertEqual(self.status(f"/x/archive-{BASE}-40.mpd"), 403)
        self.assertEqual(self.status(f"/x/archive-{BASE}-40.m3u8"), 403)

    def test_none(self) -> None:
        """An empty list is nothing at all."""
        ts, cmaf = self.uris()
        self.allow(())
        self.assertEqual(self.status(f"/x/archive-{BASE + 5}-15.m3u8"), 403)
        for path in ts + cmaf:
            self.assertEqual(self.status(path), 403)

    def test_all(self) -> None:
        """Without a list it is all."""
        ts, cmaf = self.uris()
        for path in ts + cmaf:
            self.assertEqual(self.status(path, "token=other"), 200)


class AuthRouteTests(RangesCase):
    """What a cache in front is told."""

    def test_only_who_has_a_session(self) -> None:
        """Not before its playlist, not another address, token, or stream, not after the end."""
        self.allow(None)
        path = f"/x/tracks-v1/{self.segments[2].number}.m4s"
        self.assertEqual(self.auth(f"{path}?token=t"), 403)
        self.assertEqual(self.status(f"/x/archive-{BASE}-40.m3u8"), 200)
        self.assertEqual(self.auth(f"{path}?token=t"), 200)
        asked = len(self.backend.questions)
        self.assertEqual(self.auth(f"{path}?token=t", "192.0.2.9"), 403)
        self.assertEqual(self.auth(f"{path}?token=u"), 403)
        self.assertEqual(self.auth(path), 403)
        self.assertEqual(self.auth(path.replace("/x/", "/pay/") + "?token=t"), 403)
        self.assertEqual(len(self.backend.questions), asked)
        self.pass_time(90)
        self.assertEqual(self.auth(f"{path}?token=t"), 403)

    def test_what_is_no_segment(self) -> None:
        """Playlists, nothing, and what is not a path are never said yes to."""
        self.allow(None)
        self.assertEqual(self.status(f"/x/archive-{BASE}-40.m3u8"), 200)
        for uri in (
            "",
            "cam/1.m4s",
            f"/x/archive-{BASE}-40.m3u8?token=t",
            "/x/index.m3u8?token=t",
            "/x/tracks-v1/mono.fmp4.m3u8?token=t",
            "/x?token=t",
            f"/x/../pay/tracks-v1/{self.segments[2].number}.m4s?token=t",
            "/x/%00/tracks-v1/1.m4s?token=t",
            "/x/" + "a" * 9000 + "?token=t",
            "http://x/x/tracks-v1/1.m4s?token=t",
        ):
            self.assertEqual(self.auth(uri), 403, uri[:60])
