"""CMAF over the HLS routes: playlists of both kinds, files, and requests that wait."""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.hls import routes
from restreamer.hls.live_playlists import LivePlaylists
from restreamer.hls.routes import hls_routes
from restreamer.hls.service import ReloadLimits, Reloads
from restreamer.http1.refusal import refusal_reply
from restreamer.http1.reply import ChunkedReply, FullReply, HeldReply, HttpRequest
from restreamer.live.choices import MAX_CHOICES
from restreamer.live.protocols import allowed
from restreamer.live.stream import Stream
from restreamer.media.frame import Frame
from restreamer.media.track import OPUS, Track, TrackKind
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.seams import OpenRequest
from restreamer.testing.media import aac_track, h264_track, make_frames
from test.live.rig import SECOND, Origin

_PART = SECOND // 5
_OPUS = Track(
    track_id=2,
    kind=TrackKind.AUDIO,
    codec=OPUS,
    config=bytes.fromhex("0002013800000bb80000"[:22]),
    channels=2,
)


class OnePoint:
    """A watch point with one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.asked: list[OpenRequest] = []

    async def watch(self, request: OpenRequest) -> Stream:
        self.asked.append(request)
        return self.stream


class CmafCase(SynchronousTestCase):
    """A stream of pictures and sound, 11 s of it, with a segment open."""

    seconds = 11.0
    part = _PART

    @override
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.origin = Origin(segment_duration=2 * SECOND, part_duration=self.part)
        self.ingest = self.origin.publish()
        self.frames = make_frames(30, gop=25, video_bitrate=20_000)
        self.play(self.seconds)
        self.point = OnePoint(self.origin.stream)
        self.route = hls_routes(self.point, mux_segment, self.clock)

    def play(self, seconds: float) -> None:
        """Let so much more come."""
        end = self.frames[0].dts + seconds * SECOND
        count = next(index for index, frame in enumerate(self.frames) if frame.dts >= end)
        self.origin.play(self.ingest, self.frames[:count])
        del self.frames[:count]

    @property
    def number(self) -> int:
        """Of the open segment."""
        builder = self.origin.stream.open
        assert builder is not None
        return builder.opening.number

    def begin(self, path: str, query: str = "", peer: str = "") -> Deferred[Any]:
        outcome = self.route(HttpRequest(method="GET", path=f"/x/{path}", query=query, peer=peer))
        assert isinstance(outcome, Awaitable), outcome
        return Deferred.fromCoroutine(_result(outcome))

    def ask(self, path: str, query: str = "") -> FullReply:
        reply = self.successResultOf(self.begin(path, query))
        assert isinstance(reply, FullReply)
        return reply

    def text(self, path: str, query: str = "") -> str:
        reply = self.ask(path, query)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.body.decode()

    def uris(self, text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("#")]


class PlaylistTests(CmafCase):
    def test_masters(self) -> None:
        for file, media in (("index.fmp4.m3u8", "mono.fmp4.m3u8"), ("index.ll.m3u8", "mono.ll.m3u8")):
            text = self.text(file)
            self.assertEqual(self.uris(text), [f"tracks-v1/{media}"])
            self.assertIn(f'URI="tracks-a1/{media}"', text)
            self.assertIn('CODECS="avc1.64001E,mp4a.40.2"', text)
            self.assertEqual(self.uris(self.text(file, "filter.tracks=a1")), [f"tracks-a1/{media}"])

    def test_every_uri_leads_somewhere(self) -> None:
        for name in ("v1", "a1"):
            for file in ("mono.fmp4.m3u8", "mono.ll.m3u8"):
                text = self.text(f"tracks-{name}/{file}")
                named = [*self.uris(text), *re.findall(r'(?:MAP|PART):.*URI="([^"]*)"', text)]
                self.assertTrue(len(named) > 4)
                for uri in named:
                    reply = self.ask(f"tracks-{name}/{uri}")
                    self.assertEqual(reply.status, 200, uri)
                    self.assertIn(b"video/mp4" if name == "v1" else b"audio/mp4", reply.headers)
        self.assertEqual({request.proto for request in self.point.asked}, {"hls", "cmaf"})

    def test_parts_are_the_segment(self) -> None:
        text = self.text("tracks-v1/mono.ll.m3u8")
        parts = [
            uri for uri in re.findall(r'PART:.*URI="([^"]*)"', text) if uri.startswith(f"{self.number - 1}.")
        ]
        self.assertEqual(len(parts), 10)
        body = b"".join(self.ask(f"tracks-v1/{uri}").body for uri in parts)
        self.assertEqual(body, self.ask(f"tracks-v1/{self.number - 1}.m4s").body)

    def test_token(self) -> None:
        """Every URI of every playlist hands it down."""
        for path in (
            "index.fmp4.m3u8",
            "index.ll.m3u8",
            "tracks-v1/mono.ll.m3u8",
            "tracks-a1/mono.fmp4.m3u8",
        ):
            text = self.text(path, "token=t%22")
            uris = [*self.uris(text), *re.findall(r'URI="([^"]*)"', text)]
            self.assertTrue(all(uri.endswith("?token=t%22") for uri in uris), path)
            self.assertEqual(text.replace("?token=t%22", ""), self.text(path))

    def test_url_prefix(self) -> None:
        self.origin.stream.url_prefix = "http://cdn/"
        text = self.text("tracks-v1/mono.ll.m3u8")
        self.assertTrue(all(uri.startswith("http://cdn/x/tracks-v1/") for uri in self.uris(text)))
        self.assertIn('URI="../tracks-a1/mono.ll.m3u8"', text)
        self.assertIn('MAP:URI="http://cdn/x/tracks-v1/init-', text)

    def test_chosen_tracks_in_ts(self) -> None:
        whole = self.text("index.m3u8")
        chosen = self.text("index.m3u8", "filter.tracks=a1")
        self.assertEqual(chosen.replace("tracks-a1/", ""), whole)
        self.assertEqual(self.text("tracks-a1/mono.ts.m3u8"), whole)
        uri = self.uris(chosen)[0]
        sound, everything = self.ask(uri), self.ask(self.uris(whole)[0])
        self.assertLess(len(sound.body), len(everything.body))
        self.assertNotEqual(sound.etag, everything.etag)
        self.assertEqual(self.ask(uri.replace("a1", "a7")).status, 404)

    def test_what_cannot_be(self) -> None:
        for path in ("tracks-v2/mono.fmp4.m3u8", "tracks-a9/mono.ll.m3u8", "tracks-v1a1/mono.fmp4.m3u8"):
            failure = self.failureResultOf(self.begin(path), Refused)
            self.assertEqual(failure.value.reason, Reason.NOT_FOUND, path)
        for path, query in (
            ("index.m3u8", "filter.tracks=a3"),
            ("index.fmp4.m3u8", "filter.tracks=v3"),
        ):
            failure = self.failureResultOf(self.begin(path, query), Refused)
            self.assertEqual(failure.value.reason, Reason.UNSUPPORTED, path)
        for path, query in (
            ("index.m3u8", "filter.tracks=x"),
            ("tracks-v1/mono.ll.m3u8", "_HLS_msn=x"),
            ("tracks-v1/mono.ll.m3u8", "_HLS_part=1"),
            ("tracks-v1/mono.ll.m3u8", "_HLS_msn=-1"),
        ):
            request = HttpRequest(method="GET", path=f"/x/{path}", query=query)
            self.assertRaises(Refused, self.route, request)

    def test_no_files(self) -> None:
        for path in (
            "tracks-v1/init-00000000.mp4",
            f"tracks-v1/{self.number + 3}.m4s",
            f"tracks-v1/{self.number}.99.m4s",
            f"tracks-v1/{self.number - 1}.10.m4s",
            "tracks-v1/0.m4s",
            "tracks-a2/0.m4s",
            f"tracks-v1/{10**19}.m4s",
        ):
            self.assertEqual(self.ask(path).status, 404, path)
        for path in (
            "tracks-v1/00.m4s",
            "tracks-v1/1.2.3.m4s",
            "tracks-v0/1.m4s",
            "a.mp4",
            "tracks-t1/1.m4s",
        ):
            outcome = self.route(HttpRequest(method="GET", path=f"/x/{path}"))
            if isinstance(outcome, Awaitable):
                reply = self.successResultOf(Deferred.fromCoroutine(_result(outcome)))
                self.assertEqual(reply.status, 404, path)


class ChoiceTests(CmafCase):
    """Viewers that vary what they choose."""

    def rendered(self, asked: list[tuple[str, str]]) -> int:
        """How many playlists are rendered for those (path, query)."""
        count = 0
        render = LivePlaylists._render

        def counted(*args: Any) -> str:
            nonlocal count
            count += 1
            return render(*args)

        self.patch(LivePlaylists, "_render", counted)
        for path, query in asked:
            _ = self.begin(path, query).addErrback(lambda failure: failure.trap(Refused))
        self.patch(LivePlaylists, "_render", render)
        return count

    def test_who_chooses_the_same_shares_it(self) -> None:
        """H15: names of tracks that are not there make no other choice, and no other playlist."""
        for file in ("index.fmp4.m3u8", "index.ll.m3u8", "index.ts.m3u8"):
            asked = [(file, f"filter.tracks=v1a1a{n}") for n in range(2, 90)]
            self.assertLessEqual(self.rendered(asked), 2, file)
        asked = [(f"tracks-v1a{n}/mono.ts.m3u8", "") for n in range(2, 90)]
        self.assertEqual(self.rendered(asked), 1)

    def test_each_keeps_its_own_folder(self) -> None:
        """Segments of a playlist do not change their URIs when a track comes that was asked for before."""
        text = self.text("index.m3u8", "filter.tracks=v1a7")
        self.assertTrue(all(uri.startswith("tracks-v1a7/") for uri in self.uris(text)))
        self.assertEqual(text.replace("tracks-v1a7/", ""), self.text("tracks-v1a1/mono.ts.m3u8"))
        for uri in self.uris(text):
            self.assertEqual(self.ask(uri).body, self.ask(uri.replace("v1a7", "v1")).body)

    def test_everything_is_never_put_out(self) -> None:
        """H15: whatever viewers choose, the playlists of everything and of single tracks are kept."""
        tracks = (*self.origin.tracks, *(evolve(aac_track(n), language="deu") for n in range(3, 11)))
        self.origin = Origin(segment_duration=2 * SECOND, tracks=tracks)
        self.ingest = self.origin.publish()
        self.origin.play(self.ingest, make_frames(7, gop=25, video_bitrate=20_000))
        self.point.stream = self.origin.stream
        plain = [("index.fmp4.m3u8", ""), ("tracks-v1/mono.fmp4.m3u8", "")]
        self.assertEqual(self.rendered(plain), 2)
        sounds = [f"a{n}" for n in range(1, 9)]
        choices = ["".join(sorted(each)) for each in powerset(sounds) if each]
        asked = [("index.fmp4.m3u8", f"filter.tracks=v1{each}") for each in choices]
        self.assertEqual(self.rendered(asked), 255)
        self.assertEqual(self.rendered(plain), 0)
        self.assertEqual(self.rendered(asked[-MAX_CHOICES:]), 0)
        self.assertEqual(self.rendered(asked[:1]), 1)

    def test_segments(self) -> None:
        """Those of all tracks, and of single ones, stay packaged whatever viewers choose."""
        entry = self.origin.stream.window.retained[-1]
        packed = entry.packaged("mpegts", lambda segment: b"all")
        for n in range(100):
            entry.packaged(f"mpegts-{n}", lambda segment: b"some", chosen=True)
        self.assertIs(entry.packaged("mpegts", lambda segment: b"again"), packed)
        self.assertEqual(entry.packaged("mpegts-99", lambda segment: b"again", chosen=True), b"some")
        self.assertEqual(entry.packaged("mpegts-9", lambda segment: b"again", chosen=True), b"again")


def powerset(items: list[str]) -> list[tuple[str, ...]]:
    """All subsets."""
    return [each for size in range(len(items) + 1) for each in itertools.combinations(items, size)]


class WaitTests(CmafCase):
    def test_part(self) -> None:
        """The playlist is given when the part has come, with the part in it."""
        path = "tracks-v1/mono.ll.m3u8"
        hint = re.findall(r'HINT:TYPE=PART,URI="(\d+)\.(\d+)\.m4s"', self.text(path))[0]
        self.assertEqual(int(hint[0]), self.number)
        waiting = [self.begin(path, f"_HLS_msn={hint[0]}&_HLS_part={hint[1]}") for _ in range(3)]
        part = self.begin(f"tracks-v1/{'.'.join(hint)}.m4s")
        self.assertNoResult(waiting[0])
        self.assertNoResult(part)
        self.play(0.25)
        self.clock.advance(0)
        replies = [self.successResultOf(each) for each in waiting]
        self.assertIn(f'URI="{".".join(hint)}.m4s"'.encode(), replies[0].body)
        self.assertIs(replies[1].body, replies[2].body)
        self.assertEqual(self.successResultOf(part).status, 200)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_segment(self) -> None:
        path = "tracks-a1/mono.ll.m3u8"
        number = self.number
        waiting = self.begin(path, f"_HLS_msn={number}")
        behind = self.begin(path, f"_HLS_msn={number}&_HLS_part=13")
        self.play(1.5)
        self.clock.advance(0)
        self.assertIn(b"\n%d.m4s\n" % number, self.successResultOf(waiting).body)
        # A part behind the last one is the first of the next segment.
        self.assertIn(b'"%d.0.m4s"' % (number + 1), self.successResultOf(behind).body)

    def test_what_is_there_is_given_at_once(self) -> None:
        self.ask("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number - 1}")
        self.ask("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}&_HLS_part=0")
        self.ask("tracks-v1/mono.ll.m3u8", "_HLS_msn=0&_HLS_part=7")

    def test_too_far_ahead(self) -> None:
        for query in (
            f"_HLS_msn={self.number + 2}",
            f"_HLS_msn={10**18}&_HLS_part=0",
            f"_HLS_msn={self.number}&_HLS_part=25",
            f"_HLS_msn={self.number}&_HLS_part={10**18}",
            f"_HLS_msn={self.number + 1}&_HLS_part={10**18}",
            f"_HLS_msn={self.number - 1}&_HLS_part={10**18}",
        ):
            failure = self.failureResultOf(self.begin("tracks-v1/mono.ll.m3u8", query), Refused)
            self.assertEqual(failure.value.reason, Reason.BAD_NAME)

    def test_nothing_comes(self) -> None:
        """Nobody waits longer than three target durations, and nothing is left behind."""
        waiting = self.begin("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}")
        part = self.begin(f"tracks-v1/{self.number}.{len(self.origin.stream.open.parts)}.m4s")  # type: ignore[union-attr]
        self.clock.advance(11.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(waiting).status, 503)
        self.assertEqual(self.successResultOf(part).status, 404)
        self.assertEqual(self.origin.stream.taps, 1)

    def test_the_stream_ends(self) -> None:
        waiting = self.begin("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}")
        self.origin.stream.finish("over")
        self.assertEqual(self.successResultOf(waiting).status, 503)

    def test_gone_client(self) -> None:
        waiting = self.begin("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}")
        _ = waiting.addErrback(lambda failure: None)
        waiting.cancel()
        self.assertFalse(self.clock.getDelayedCalls())
        self.assertEqual(self.origin.stream.taps, 1)

    def test_a_crowd_is_answered_in_slices(self) -> None:
        """One part that comes does not hold up the node for everybody who waits for it."""
        waiting = [self.begin("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}") for _ in range(1000)]
        self.play(2.0)
        done = sum(bool(each.called) for each in waiting)
        self.assertTrue(0 < done < 500, done)
        for _ in range(5):
            self.clock.advance(0)
        self.assertTrue(all(each.called for each in waiting))

    def test_too_many(self) -> None:
        """H15: no more wait than the limits allow, and who goes makes room again."""
        path, query = "tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}"
        limits = ReloadLimits(waiting=5, per_address=2)
        self.route = hls_routes(self.point, mux_segment, self.clock, limits)
        mine = [self.begin(path, query, "192.0.2.1") for _ in range(2)]
        refused = self.failureResultOf(self.begin(path, query, "192.0.2.1"), Refused)
        self.assertEqual(refused.value.reason, Reason.OVERLOADED)
        # Whoever comes through a proxy of this machine has its address.
        others = [self.begin(path, query, "127.0.0.1") for _ in range(3)]
        refused = self.failureResultOf(self.begin(path, query, "192.0.2.2"), Refused)
        self.assertEqual(refused.value.reason, Reason.OVERLOADED)
        reply = refusal_reply(refused.value)
        self.assertEqual(reply.status, 503)
        self.assertIn(b"Retry-After: 5\r\n", reply.headers)
        for each in [mine[0], others[0]]:
            _ = each.addErrback(lambda failure: None)
            each.cancel()
        self.assertNoResult(self.begin(path, query, "192.0.2.1"))
        self.play(2.0)
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(each).status for each in (mine[1], *others[1:])], [200] * 3)

    def test_few_things_to_wait_for(self) -> None:
        """H15: whatever parts are asked for, there are few things to look at with each part."""
        reloads: list[Reloads] = []

        class Seen(Reloads):
            def __init__(self, clock: Any, limits: ReloadLimits | None = None) -> None:
                super().__init__(clock, limits)
                reloads.append(self)

        self.patch(routes, "Reloads", Seen)
        self.route = hls_routes(self.point, mux_segment, self.clock)
        for number in range(self.number - 1, self.number + 3):
            for part in (*range(60), 10**9, 10**18):
                outcome = self.begin("tracks-v1/mono.ll.m3u8", f"_HLS_msn={number}&_HLS_part={part}")
                _ = outcome.addErrback(lambda failure: failure.trap(Refused))
        (following,) = reloads[0]._following.values()
        self.assertLess(len(following.waits), 40)

    def test_too_many_things_to_wait_for(self) -> None:
        reloads = Reloads(self.clock, ReloadLimits(keys=3))
        outcomes = [
            Deferred.fromCoroutine(reloads.until(self.origin.stream, key, lambda: False, 1.0))
            for key in (1, 2, 3, 3, 4)
        ]
        self.assertEqual(self.failureResultOf(outcomes.pop(), Refused).value.reason, Reason.OVERLOADED)
        self.clock.advance(1.1)
        self.assertEqual([self.successResultOf(each) for each in outcomes], [False] * 4)

    def test_late_answers_say_when_to_ask_again(self) -> None:
        waiting = self.begin("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}")
        self.clock.advance(13)
        self.assertIn(b"Retry-After: 1\r\n", self.successResultOf(waiting).headers)

    @given(st.integers(0, 10**20), st.integers(0, 10**20) | st.none())
    @settings(deadline=None, max_examples=60, derandomize=True)
    def test_any_directives(self, number: int, part: int | None) -> None:
        query = f"_HLS_msn={number}" + (f"&_HLS_part={part}" if part is not None else "")
        try:
            outcome = self.begin("tracks-v1/mono.ll.m3u8", query)
        except Refused:
            return
        _ = outcome.addErrback(lambda failure: failure.trap(Refused))
        self.assertTrue(outcome.called)


class GrowingTests(CmafCase):
    def test_parts_as_they_come(self) -> None:
        """The open segment is sent part by part, and ends as the segment that everybody gets later."""
        number = self.number
        reply = self.successResultOf(self.begin(f"tracks-v1/{number}.m4s"))
        assert isinstance(reply, ChunkedReply)
        self.assertIn(b"Cache-Control: no-store", reply.headers)
        pieces: list[bytes] = []
        ended: list[str] = []
        reply.start(_Writer(pieces), ended.append)
        self.assertEqual(len(pieces), 4)
        self.play(2.0)
        self.assertEqual(ended, [""])
        self.assertEqual(b"".join(pieces), self.ask(f"tracks-v1/{number}.m4s").body)
        self.assertEqual(self.origin.stream.taps, 1)

    def test_a_track_that_is_not_there(self) -> None:
        """H16: no track of that name is 404 at once, in the open segment and for its next part."""
        number = self.number
        for name in ("v9", "a2"):
            self.assertEqual(self.ask(f"tracks-{name}/{number}.m4s").status, 404)
            self.assertEqual(self.ask(f"tracks-{name}/{number}.0.m4s").status, 404)

    def test_a_track_that_begins_late(self) -> None:
        """H16: a track without a part so far is waited for, and one that gets none is 404, not empty."""
        frames = [
            frame
            for frame in make_frames(16, gop=25, video_bitrate=20_000, start=0)
            if frame.track_id == 1 or frame.dts % (4 * SECOND) >= 3 * SECOND
        ]
        origin = Origin(segment_duration=2 * SECOND, part_duration=self.part)
        ingest = origin.publish()
        self.point.stream = origin.stream

        def play_to(seconds: float) -> int:
            count = sum(frame.dts < seconds * SECOND for frame in frames)
            origin.play(ingest, frames[:count])
            del frames[:count]
            self.clock.advance(0)
            assert origin.stream.open is not None
            return origin.stream.open.opening.number

        number = play_to(10.5)
        waiting = self.begin(f"tracks-a1/{number}.m4s")
        self.assertIsInstance(self.successResultOf(self.begin(f"tracks-v1/{number}.m4s")), ChunkedReply)
        self.assertNoResult(waiting)
        self.assertEqual(play_to(11.5), number)
        self.assertIsInstance(self.successResultOf(waiting), ChunkedReply)
        self.assertEqual(play_to(12.5), number + 1)
        waiting = self.begin(f"tracks-a1/{number + 1}.m4s")
        self.assertNoResult(waiting)
        play_to(14.5)
        self.assertEqual(self.successResultOf(waiting).status, 404)

    def test_gone_and_given_up(self) -> None:
        ended: list[str] = []
        reply = self.successResultOf(self.begin(f"tracks-a1/{self.number}.m4s"))
        stop = reply.start(_Writer([]), ended.append)
        stop()
        self.assertEqual(self.origin.stream.taps, 1)
        reply.start(_Writer([]), ended.append)
        self.origin.stream.finish("over")
        self.assertEqual(len(ended), 1)
        self.assertTrue(ended[0])


class NoPartsTests(CmafCase):
    part = 0

    def test_plain_playlist(self) -> None:
        text = self.text("tracks-v1/mono.ll.m3u8")
        self.assertNotIn("PART", text)
        self.assertEqual(text, self.text("tracks-v1/mono.fmp4.m3u8"))
        waiting = self.begin("tracks-v1/mono.ll.m3u8", f"_HLS_msn={self.number}")
        self.play(2.0)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(waiting).status, 200)
        self.assertEqual(self.ask(f"tracks-v1/{self.number}.m4s").status, 404)


class CodecTests(SynchronousTestCase):
    def test_which_container_suits(self) -> None:
        """What players do not take in MPEG-TS makes the automatic choice CMAF; a missing track is a gap."""
        origin = Origin(segment_duration=2 * SECOND, part_duration=_PART, tracks=(h264_track(1), _OPUS))
        ingest = origin.publish()
        frames = [
            Frame(2, frame.dts, 0, True, b"\xfc" + frame.data) if frame.track_id == 2 else frame
            for frame in make_frames(9, gop=25, video_bitrate=20_000)
        ]
        origin.play(ingest, frames[: len(frames) // 2])
        ingest.configure((h264_track(1),))
        origin.play(ingest, [frame for frame in frames[len(frames) // 2 :] if frame.track_id == 1])
        route = hls_routes(OnePoint(origin.stream), mux_segment, Clock())

        def text(path: str) -> str:
            outcome = route(HttpRequest(method="GET", path=path))
            assert isinstance(outcome, Awaitable)
            reply = self.successResultOf(Deferred.fromCoroutine(_result(outcome)))
            return str(reply.body.decode())

        self.assertIn("#EXT-X-DISCONTINUITY\n", text("/x/tracks-v1/mono.fmp4.m3u8"))
        for file in ("mono.ll.m3u8", "mono.fmp4.m3u8"):
            sound = text(f"/x/tracks-a1/{file}")
            self.assertIn("#EXT-X-GAP\n", sound)
            self.assertIn("#EXT-X-DISCONTINUITY\n", sound)
        # Its newest segment has no Opus any more.
        self.assertIn(".ts\n", text("/x/index.m3u8"))


class WordTests(SynchronousTestCase):
    def test_files_of_both(self) -> None:
        for words, right in [(None, True), ({"hls"}, True), ({"dash"}, True), ({"rtmp", "cmaf"}, False)]:
            self.assertEqual(allowed(frozenset(words) if words is not None else None, "cmaf"), right)


class _Writer:
    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    @property
    def waiting(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.pieces.append(data)


async def _result(outcome: Awaitable[Any]) -> Any:
    """As the front does it: what is held is waited for."""
    reply = await outcome
    if not isinstance(reply, HeldReply):
        return reply
    leave: list[Callable[[], None]] = []
    held: Deferred[Any] = Deferred(lambda _: leave[0]())
    leave.append(reply.hold(lambda answer, ready: held.callback(answer)))
    return await held
