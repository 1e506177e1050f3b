"""The archive in the API: ranges, locked ranges, who may change them, and what players ask."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.dvr.locks import Ranges, locked, unlocked
from restreamer.dvr.seams import Holdings, Span
from restreamer.errors import Reason, Refused
from restreamer.http1.reply import FullReply, HttpRequest
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.seams import Grant, OpenRequest, Viewing
from restreamer.web.dvr_api import DvrApi
from restreamer.web.dvr_info import CacheInfo, CopyInfo, ReadInfo, VolumeInfo, dvr_stats, read_info
from restreamer.web.recording_status import recording_status_route
from restreamer.web.v3.reading import archive_endpoints
from test.web.v3.calls import EDITOR, VIEWER, Asker

_NOW = 5000


class Some:
    """Who may play some of an archive."""

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((1000.0, 1100.5), (1550.2, 1700.0), (2900.0, 3001.0), (9000.0, 9100.0))

    def give_back(self) -> None:
        pass


@define(eq=False)
class FakeDirectory:
    """One stream, C{live/a}."""

    spans: tuple[Span, ...] = (
        Span(1000 * TICKS_PER_SECOND, 2000 * TICKS_PER_SECOND),
        Span(3000 * TICKS_PER_SECOND, 3999 * TICKS_PER_SECOND + 1),
    )
    ranges: Ranges = ((1_500_000, 1_600_000),)
    refusal: Refused | None = None
    volumes_: list[VolumeInfo] = field(factory=list)

    def volumes(self) -> list[VolumeInfo]:
        return self.volumes_

    def _check(self, name: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        if name != "live/a":
            raise Refused(Reason.NOT_FOUND, "nothing of this stream is recorded")

    def cached(self) -> Sequence[CacheInfo]:
        return []

    def copied(self) -> Sequence[CopyInfo]:
        return []

    def reads(self) -> Mapping[str, ReadInfo]:
        return {"ram": read_info(2, 4000, 400.0)}

    async def holdings(self, name: str) -> Holdings:
        self._check(name)
        return Holdings(hours=(0,), spans=self.spans, size=77, complete=False)

    async def locks(self, name: str) -> Ranges:
        self._check(name)
        return self.ranges

    async def lock(self, name: str, start: int, end: int) -> Ranges:
        self._check(name)
        self.ranges = locked(self.ranges, start, end)
        return self.ranges

    async def unlock(self, name: str, start: int, end: int) -> Ranges:
        self._check(name)
        self.ranges = unlocked(self.ranges, start, end)
        return self.ranges

    async def open(self, request: OpenRequest) -> Grant:
        if request.token == "bad":
            raise Refused(Reason.DENIED, "no")
        if request.token == "some" and request.account is not None:
            request.account.viewing = cast(Viewing, Some())
        return Grant(request=request)


class Api(SynchronousTestCase):
    """Requests at C{/streamer/api/v3/streams/…/dvr/…}."""

    @override
    def setUp(self) -> None:
        self.directory = FakeDirectory()

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        asker = Asker(archive_endpoints(DvrApi(self.directory, lambda: 0.0)))
        given = {"content-type": "application/json", **(EDITOR if headers is None else headers)}
        told = asker.ask(method, "/" + path, body, headers=given)
        return told.status, told.json

    def test_ranges(self) -> None:
        """In milliseconds, with the gap."""
        status, told = self.ask("GET", "streams/live/a/dvr/ranges")
        self.assertEqual(status, 200)
        self.assertEqual(told["ranges"][0], {"opened_at": 1_000_000, "closed_at": 2_000_000})
        self.assertEqual((len(told["ranges"]), told["bytes"], told["complete"]), (2, 77, False))
        self.assertEqual(self.ask("GET", "streams/b/dvr/ranges")[0], 404)
        self.assertEqual(self.ask("POST", "streams/live/a/dvr/ranges")[0], 405)
        self.directory.refusal = Refused(Reason.NOT_READY, "away")
        self.assertEqual(self.ask("GET", "streams/live/a/dvr/ranges")[0], 503)

    def test_locks(self) -> None:
        """Locked and unlocked, in either form, in the body or the query."""
        path = "streams/live/a/dvr/locks"
        self.assertEqual(
            self.ask("GET", path)[1]["locks"], [{"opened_at": 1_500_000, "closed_at": 1_600_000}]
        )
        status, told = self.ask("POST", path, b'{"from": 1600, "duration": 100}')
        self.assertEqual((status, told["locks"]), (200, [{"opened_at": 1_500_000, "closed_at": 1_700_000}]))
        told = self.ask("DELETE", path + "?opened_at=1550000&closed_at=1650000")[1]
        self.assertEqual(len(told["locks"]), 2)
        self.assertEqual(self.ask("PUT", path, b'{"opened_at": 1, "closed_at": 2}')[0], 200)

    def test_wrong(self) -> None:
        """Whatever is no range is 400 and changes nothing."""
        bodies = (
            b"",
            b"[]",
            b"{",
            b"[" * 10_000,
            b'{"from": 5}',
            b'{"from": -5, "duration": 6}',
            b'{"from": 5, "duration": 0}',
            b'{"opened_at": 7, "closed_at": 7}',
            b'{"opened_at": 7, "closed_at": 1e3}',
            b'{"opened_at": true, "closed_at": 9}',
            b'{"opened_at": 1, "closed_at": 999999999999999999999}',
            b'{"opened_at": NaN, "closed_at": 5}',
        )
        for body in bodies:
            with self.subTest(body[:40]):
                self.assertEqual(self.ask("POST", "streams/live/a/dvr/locks", body)[0], 400)
        self.assertEqual(self.directory.ranges, ((1_500_000, 1_600_000),))

    def test_who(self) -> None:
        """Changes need the password, whatever address they come from."""
        path, body = "streams/live/a/dvr/locks", b'{"from": 1, "duration": 1}'
        self.assertEqual(self.ask("POST", path, body, {})[0], 401)
        self.assertEqual(self.ask("POST", path, body, VIEWER)[0], 403)
        self.assertEqual(self.ask("DELETE", path, body, VIEWER)[0], 403)
        self.assertEqual(self.ask("GET", path, headers=VIEWER)[0], 200)
        self.assertEqual(self.directory.ranges, ((1_500_000, 1_600_000),))

    def test_reads(self) -> None:
        """Where the past is read from and how fast, beside the volumes and in the figures of the node."""
        told = DvrApi(FakeDirectory(), lambda: 0.0).volumes({})
        self.assertEqual(told["reads"], {"ram": {"segments": 2, "bytes": 4000, "kbit": 3}})
        both = {"ram": read_info(2, 4000, 400.0), "remote": read_info(1, 10, 1_000_000.0)}
        self.assertEqual(dvr_stats([], both)["read_kbit"], 8003)


class Status(SynchronousTestCase):
    """C{/NAME/recording_status.json}."""

    @override
    def setUp(self) -> None:
        self.directory = FakeDirectory()
        self.route = recording_status_route(
            self.directory.holdings,
            self.directory.locks,
            lambda name: name != "unknown",
            self.directory,
            lambda: _NOW * TICKS_PER_SECOND,
        )

    def ask(self, path: str, query: str = "", method: str = "GET") -> Any:
        reply = self.route(HttpRequest(method=method, path=path, query=query))
        if isinstance(reply, Awaitable):
            return self.successResultOf(Deferred.fromCoroutine(reply))  # type: ignore[arg-type]
        return reply

    def told(self, query: str) -> Any:
        reply = self.ask("/live/a/recording_status.json", query)
        assert isinstance(reply, FullReply)
        self.assertEqual(reply.status, 200)
        (told,) = json.loads(reply.body)
        return told

    def test_told(self) -> None:
        """Whole seconds, cut at what was asked for."""
        told = self.told("from=0&to=now&request=ranges,locks")
        self.assertEqual(told["ranges"], [{"from": 1000, "duration": 1000}, {"from": 3000, "duration": 1000}])
        self.assertEqual(told["locks"], [{"from": 1500, "duration": 100}])
        self.assertEqual((told["stream"], told["complete"]), ("live/a", False))
        cut = self.told("from=1900&to=3100")
        self.assertEqual(cut["ranges"], [{"from": 1900, "duration": 100}, {"from": 3000, "duration": 100}])
        self.assertNotIn("locks", cut)
        self.assertNotIn("ranges", self.told("request=locks,brief_thumbnails"))
        self.assertEqual(self.told("from=4500")["ranges"], [])

    def test_who_may_play_some(self) -> None:
        """It is told what may be played: whole seconds within."""
        told = self.told("request=ranges,locks&token=some")
        self.assertEqual(
            told["ranges"],
            [
                {"from": 1000, "duration": 100},
                {"from": 1551, "duration": 149},
                {"from": 3000, "duration": 1},
            ],
        )
        self.assertEqual(told["locks"], [{"from": 1551, "duration": 49}])

    def test_not_ours(self) -> None:
        """Other paths and names nobody records are handed on."""
        for path in ("/live/a/index.m3u8", "/unknown/recording_status.json", "/recording_status.json"):
            self.assertIsNone(self.ask(path))
        self.assertEqual(self.ask("/live/a/recording_status.json", method="POST").status, 405)

    def test_refused(self) -> None:
        """By its times, by the gate, by the archive."""
        cases = {
            "from=x": Reason.BAD_NAME,
            "from=-1": Reason.BAD_NAME,
            "from=5&to=5": Reason.BAD_NAME,
            "to=999999999999": Reason.BAD_NAME,
            "request=other": Reason.BAD_NAME,
            "token=bad": Reason.DENIED,
        }
        for query, reason in cases.items():
            with self.subTest(query):
                reply = self.route(
                    HttpRequest(method="GET", path="/live/a/recording_status.json", query=query)
                )
                failure = self.failureResultOf(Deferred.fromCoroutine(reply), Refused)  # type: ignore[arg-type]
                self.assertIs(failure.value.reason, reason)
