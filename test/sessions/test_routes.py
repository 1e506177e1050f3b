"""Every route of a node, with every kind of viewer who may not: no media, and a refusal.

The routes are those that the node really has. One that is not in L{CASES} fails the test: whoever adds it
has to say what it gives, and what is refused.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.assembly import Core
from restreamer.config.load import load
from restreamer.errors import Refused
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import FullReply, HttpRequest, Reply, UploadReply
from test.sessions.rig import ALLOW, DENY, UNDECIDED, FakeBackend

CONFIG: Final = """
state_dir %(root)s/state;
cluster_key abcdefghijklmnop;
http 127.0.0.1:8080;
live pay { on_play http://backend/play; on_publish http://backend/publish; no_auto_token; dvr %(root)s/dvr; }
vod films { storage %(root)s; on_play http://backend/play; no_auto_token; }
"""
LIVE: Final = "pay/one"
FILM: Final = "films/a.mp4"
START: Final = 1_700_000_000
TS: Final = "2023/11/14/22/13/20-05000.ts"


@frozen(kw_only=True)
class Case:
    """What a route gives.

    @ivar begins: with these a viewer begins; C{%} is the name.
    @ivar parts: pieces of what began by C{opener}.
    @ivar of: the name that is tried. @ivar method: of the request.
    @ivar alone: why no viewer is asked about: what it gives is no media.
    """

    begins: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    opener: str = "/%/index.m3u8"
    of: str = LIVE
    method: str = "GET"
    alone: str = ""


#: By the name of the function that makes the route, or its method.
CASES: Final[dict[str, Case]] = {
    "link_route": Case(alone="other nodes; they prove the cluster key"),
    "balancer_route": Case(alone="redirections; tested with the balancer"),
    "FileRoutes.route": Case(
        of=FILM,
        begins=("/%/index.m3u8", "/%/video.m3u8", "/%/index.fmp4.m3u8", "/%/tracks-v1/mono.fmp4.m3u8"),
        parts=(
            "/%/1-0123456789abcdef.ts",
            "/%/tracks-v1/1-0123456789abcdef.m4s",
            "/%/tracks-v1/init-00000000.mp4",
        ),
    ),
    "file_mpegts_route": Case(of=FILM, begins=("/%/mpegts",)),
    "auth_route": Case(parts=("/-/auth",)),
    "recording_status_route": Case(begins=("/%/recording_status.json",)),
    "archive_ts_route": Case(
        begins=(f"/%/archive-{START}-60.ts", f"/%/timeshift_abs-{START}.ts", "/%/timeshift_rel-60.ts")
    ),
    "archive_mp4_route": Case(begins=(f"/%/archive-{START}-60.mp4",)),
    "ArchiveDashRoutes.route": Case(begins=(f"/%/archive-{START}-60.mpd", "/%/rewind-60.mpd")),
    "ArchiveHlsRoutes.route": Case(
        begins=(
            "/%/index.m3u8",
            "/%/video.m3u8",
            "/%/index.ll.m3u8",
            "/%/index.fmp4.m3u8",
            "/%/tracks-v1/mono.ts.m3u8",
            "/%/tracks-v1/mono.ll.m3u8",
            "/%/tracks-v1/mono.fmp4.m3u8",
            f"/%/archive-{START}-60.m3u8",
            f"/%/index-{START}-60.m3u8",
        ),
        parts=(
            f"/%/{TS}",
            f"/%/tracks-v1/{TS}",
            "/%/tracks-v1/340000000.m4s",
            "/%/tracks-v1/340000000.0.m4s",
            "/%/tracks-v1/init-00000000.mp4",
        ),
    ),
    "DashRoutes.route": Case(begins=("/%/index.mpd",)),
    "publish_route": Case(begins=("/%/mpegts",), method="POST"),
    "mpegts_route": Case(begins=("/%/mpegts",)),
    "flv_route": Case(begins=("/%.flv",)),
}


class QuietReactor(MemoryReactorClock):
    """What threads bring comes to nobody."""

    def callFromThread(self, callable: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N802
        """Twisted's IReactorFromThreads.callFromThread."""


class Up:
    """The front's side of an upload."""

    def answer(self, reply: FullReply) -> None:
        """A L{restreamer.http1.reply.Uploader}."""


def name_of(route: Any) -> str:
    """What a route is called in L{CASES}."""
    name: str = route.__qualname__
    return name.partition(".<locals>")[0]


class MatrixTests(SynchronousTestCase):
    """Routes by states."""

    @override
    def setUp(self) -> None:
        root = self.mktemp()
        os.makedirs(root)
        path = os.path.join(root, "node.conf")
        with open(path, "w") as file:
            file.write(CONFIG % {"root": os.path.abspath(root)})
        self.reactor = QuietReactor()
        self.reactor.advance(1000)
        self.core = Core(self.reactor, load(path).configuration)
        # Nothing runs here, but all names are known: of others nobody is asked.
        self.core.registry.reserve(frozenset({LIVE, "pay/two", "pay/other"}))
        self.addCleanup(self.core.sessions.stop)
        self.addCleanup(self.core.files.close)
        self.backend = FakeBackend()
        self.core.gate._backend_of = lambda name, action: self.backend
        self.routes = self.core.routes()

    def status(self, path: str, name: str, **more: Any) -> int:
        """The status of the answer; 0: it was let through, and waits for media."""
        values: dict[str, Any] = {"method": "GET", "query": "token=t", "peer": "192.0.2.1"}
        request = HttpRequest(path=path.replace("%", name), **{**values, **more})
        if path == "/-/auth":
            target = f"/{name}/{TS}?{request.query}"
            request = evolve(request, query="", headers={"x-original-uri": target})
        for route in self.routes:
            try:
                outcome = route(request)
                if isinstance(outcome, UploadReply):
                    outcome = outcome.start(Up())  # type: ignore[assignment]
            except Refused as refused:
                return refusal_reply(refused, request).status
            if isinstance(outcome, Awaitable):
                return self._result(outcome, request)
            if outcome is not None:
                return getattr(outcome, "status", 0)
        return -1

    def _result(self, outcome: Awaitable[Reply], request: HttpRequest) -> int:
        async def wait() -> int:
            try:
                return getattr(await outcome, "status", 0)
            except Refused as refused:
                return refusal_reply(refused, request).status

        found: list[Any] = []
        waiting = Deferred.fromCoroutine(wait()).addBoth(found.append)
        if not found:
            waiting.cancel()
            return 0
        if not isinstance(found[0], int):
            found[0].raiseException()
        return int(found[0])

    def test_all_are_known(self) -> None:
        """A new route is to be put into the table."""
        self.assertEqual({name_of(route) for route in self.routes}, set(CASES))

    def test_begins(self) -> None:
        """Who has no token, is denied, or comes when nobody decides; then who may."""
        for what, case in CASES.items():
            for path in case.begins:
                for query, answer in (("", ALLOW), ("token=no", DENY), ("token=un", UNDECIDED)):
                    self.backend.say = answer
                    if query or case.method == "GET":
                        status = self.status(path, case.of, method=case.method, query=query)
                        self.assertEqual(status, 403, (what, path, query))
                self.backend.say = ALLOW
                status = self.status(path, case.of, method=case.method, query="token=yes")
                self.assertNotIn(status, (-1, 403), (what, path))

    def test_parts(self) -> None:
        """Who did not begin, was refused, is another, or left; then who did begin."""
        for what, case in CASES.items():
            for path in case.parts:
                with self.subTest(path=path):
                    self._part(what, case, path)

    def _part(self, what: str, case: Case, path: str) -> None:
        def refused(why: str, **more: Any) -> None:
            self.assertEqual(self.status(path, more.pop("name", case.of), **more), 403, (what, path, why))

        refused("no token", query="")
        refused("no session")
        self.backend.say = DENY
        self.assertEqual(self.status(case.opener, case.of, query="token=denied"), 403)
        refused("denied", query="token=denied")
        self.backend.say = ALLOW
        self.assertNotEqual(self.status(case.opener, case.of), 403)
        self.assertNotEqual(self.status(path, case.of), 403, (what, path))
        refused("other token", query="token=u")
        refused("other address", peer="192.0.2.2")
        refused("other name", name=case.of.replace("one", "two").replace("a.mp4", "b.mp4"))
        for session_id in self.core.sessions.ids():
            self.core.sessions.kick(session_id, "kicked")
        refused("revoked")
        self.reactor.pump([1] * 200)
        refused("expired")
