"""Feeds of chosen tracks: who shares one, what reaches its muxer, what is refused, what is told."""

from __future__ import annotations

from typing import Any
from unittest import mock

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.live import playout as module
from restreamer.live import viewer as viewer_module
from restreamer.live.feed import FeedLimits
from restreamer.live.playout import Playout
from restreamer.live.stream import Stream
from restreamer.live.viewer import Viewer
from restreamer.live.window import LiveWindow
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.media.selection import TrackSelection
from restreamer.media.track import Track, Tracks
from restreamer.rtmp.play_muxer import RtmpMuxers
from restreamer.seams import FeedMuxer
from restreamer.testing.media import aac_track, h264_track
from test.live.rig import NODE, D
from test.live.viewing import UNCARRIED, KernelTransport

#: One video track and two audio tracks.
VAA: Tracks = (h264_track(1), aac_track(2), evolve(aac_track(3), language="eng"))


class NamingMuxer(FeedMuxer):
    """A frame is muxed to its track's id and C{*} for a keyframe; what stands before is in brackets."""

    def __init__(self, title: str = "") -> None:
        self.ids: tuple[int, ...] = ()
        self.configured: list[tuple[int, ...]] = []

    @override
    def carries(self, track: Track) -> bool:
        return track.codec != UNCARRIED

    @override
    def configure(self, tracks: Tracks, run_start: int, discontinuity: bool) -> None:
        self.ids = tuple(track.track_id for track in tracks)
        self.configured.append(self.ids)

    @override
    def mux(self, frame: Frame) -> bytes:
        assert frame.track_id in self.ids, "a frame of a track that was not chosen"
        return b"%d%s " % (frame.track_id, b"*" if frame.key and frame.track_id == 1 else b"")

    @override
    def join_prefix(self) -> bytes:
        return b"[%s] " % b",".join(b"%d" % each for each in self.ids)

    skip_prefix = join_prefix


def choice(text: str) -> TrackSelection:
    selection = TrackSelection.parse(text)
    assert selection is not None
    return selection


class SelectionCase(SynchronousTestCase):
    """A stream of one video and two audio tracks."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.stream = Stream("x", LiveWindow(4))
        self.muxers: list[NamingMuxer] = []
        self.playout = Playout(self.stream, self.clock, {"p": self.make}, FeedLimits())
        self.viewers: dict[int, Viewer] = {}
        self.number = 0
        self.time = 0
        patched = mock.patch.object(
            viewer_module, "direct_send", lambda transport: getattr(transport, "send", None)
        )
        patched.start()
        self.addCleanup(patched.stop)
        self.warned: list[str] = []
        patched = mock.patch.object(
            module._log, "warn", lambda text, **facts: self.warned.append(text.format(**facts))
        )
        patched.start()
        self.addCleanup(patched.stop)
        self.begin()

    def make(self, title: str) -> NamingMuxer:
        self.muxers.append(NamingMuxer())
        return self.muxers[-1]

    def begin(self, run_id: int = 1, tracks: Tracks = VAA) -> None:
        self.writer = self.stream.begin_run(RunInfo(run_id, run_id * 77, NODE, (NODE,)), D, local=True)
        self.open(tracks)

    def open(self, tracks: Tracks = VAA, discontinuity: bool = False) -> None:
        self.number += 1
        self.writer.open(SegmentOpening(self.number, 0, discontinuity, True, 0, tracks))

    def push(self, *tracks: int, key: bool = False) -> None:
        """A batch of one frame of each track."""
        self.time += 3600
        self.writer.frames(
            [Frame(each, self.time, 0, key or each != 1, b"d") for each in tracks],
        )

    def join(self, selection: str = "") -> KernelTransport:
        transport = KernelTransport()
        chosen = choice(selection) if selection else None
        self.viewers[id(transport)] = self.playout.join("p", transport, lambda reason: None, chosen)
        transport.read(0)
        return transport

    def leave(self, transport: KernelTransport) -> None:
        self.viewers[id(transport)].leave()

    def refusal(self, selection: str) -> Reason:
        refused: Refused = self.assertRaises(Refused, self.join, selection)
        asked = self.assertRaises(Refused, self.playout.tracks, "p", choice(selection) if selection else None)
        self.assertEqual(asked.reason, refused.reason)
        return refused.reason


class ChosenTests(SelectionCase):
    """What viewers get."""

    def test_all_and_some(self) -> None:
        self.push(1, 2, 3, key=True)
        everything, some = self.join(), self.join("v1a2")
        self.push(1, 2, 3)
        self.push(2)
        self.push(3)
        self.assertEqual(bytes(everything.got), b"[1,2,3] 1* 2 3 1 2 3 2 3 ")
        self.assertEqual(bytes(some.got), b"[1,3] 1* 3 1 3 3 ")

    def test_those_who_chose_alike_share_a_feed(self) -> None:
        self.push(1, 2, 3, key=True)
        first, second = self.join("v1a2"), self.join("a2v1")
        self.push(1, 2, 3)
        self.assertEqual(first.got, second.got)
        self.assertEqual(list(self.playout.feeds()), ["p v1a2"])
        self.assertEqual((len(self.muxers), self.playout.viewers), (1, 2))

    def test_audio_alone_begins_with_any_frame(self) -> None:
        self.push(1, 2, 3, key=True)
        transport = self.join("a2")
        self.push(1, 2, 3)
        self.assertEqual(bytes(transport.got), b"[3] 3 3 ")

    def test_places_not_there_are_left_out(self) -> None:
        self.push(1, 2, 3, key=True)
        self.assertEqual(bytes(self.join("v1a7").got), b"[1] 1* ")

    def test_counted_by_container(self) -> None:
        """Whatever was chosen; and bytes once, when viewers have gone, too."""
        self.push(1, 2, 3, key=True)
        everything, some = self.join(), self.join("v1")
        self.push(1, 2, 3)
        sent = len(everything.got) + len(some.got)
        self.assertEqual((self.playout.bytes_out, len(self.playout.feeds_of("p"))), (sent, 2))
        self.assertEqual((list(self.playout.counters), self.playout.counters["p"].joined), (["p"], 2))
        self.leave(some)
        self.assertEqual((self.playout.bytes_out, list(self.playout.feeds())), (sent, ["p"]))
        self.leave(everything)
        self.assertEqual((self.playout.bytes_out, self.playout.feeds(), self.stream.taps), (sent, {}, 0))

    def test_tracks_told_before_joining(self) -> None:
        self.assertEqual(self.playout.tracks("p", choice("a1")), VAA[1:2])
        self.assertEqual(self.playout.tracks("p"), VAA)
        self.assertRaises(Refused, self.playout.tracks, "q")


class ChangeTests(SelectionCase):
    """Tracks that come and go."""

    def test_change_of_another_track_is_no_change(self) -> None:
        self.push(1, 2, 3, key=True)
        self.join("v1a1")
        self.open((*VAA[:2], evolve(VAA[2], config=b"other")))
        self.push(1, 2, 3, key=True)
        self.open(VAA[:2])
        self.push(1, 2, key=True)
        self.assertEqual(self.muxers[0].configured, [(1, 2)])

    def test_chosen_track_goes_and_comes(self) -> None:
        self.push(1, 2, 3, key=True)
        transport = self.join("a2")
        self.open(VAA[:2])
        self.push(1, 2, key=True)
        self.open(VAA)
        self.push(1, 2, 3, key=True)
        self.assertEqual(self.muxers[0].configured, [(3,), (), (3,)])
        self.assertEqual(bytes(transport.got), b"[3] 3 3 ")

    def test_another_run_goes_on_behind_what_was_sent(self) -> None:
        """Frames of tracks that were not chosen do not tell how far this viewer got."""
        self.push(1, 2, 3, key=True)
        transport = self.join("v1")
        self.push(1)
        sent = self.time
        self.push(2, 3)
        self.writer.lose("gone")
        self.time = sent
        self.begin(2)
        self.push(1, 2, key=True)
        self.assertEqual(bytes(transport.got), b"[1] 1* 1 1* ")


class RefusalTests(SelectionCase):
    """What is refused, and what is said of tracks left out."""

    def test_no_such_track(self) -> None:
        for selection in ("a3", "v2", "t1"):
            self.assertEqual(self.refusal(selection), Reason.NOT_FOUND, selection)
        self.assertEqual((self.playout.feeds(), self.stream.taps), ({}, 0))

    def test_nothing_the_container_carries(self) -> None:
        self.open((VAA[0], evolve(VAA[1], codec=UNCARRIED)))
        self.assertEqual(self.refusal("a1"), Reason.UNSUPPORTED)
        self.open((evolve(VAA[0], codec=UNCARRIED),))
        self.assertEqual(self.refusal(""), Reason.UNSUPPORTED)
        self.assertEqual((self.playout.feeds(), self.stream.taps), ({}, 0))

    def test_left_out_is_said_once(self) -> None:
        tracks = (VAA[0], VAA[1], evolve(VAA[2], codec=UNCARRIED))
        self.open(tracks)
        self.push(1, 2, 3, key=True)
        transport = self.join()
        self.open(tracks)
        self.push(1, 2, 3, key=True)
        self.join("a1a2")
        self.assertEqual(bytes(transport.got), b"[1,2] 1* 2 1* 2 ")
        self.assertEqual(
            self.warned, ["x: track 3 (none) is left out of p, which cannot carry it"], "once, whoever asks"
        )

    def test_before_the_tracks_are_known_anybody_may_wait(self) -> None:
        self.stream = Stream("y", LiveWindow(4))
        self.playout = Playout(self.stream, self.clock, {"p": self.make}, FeedLimits())
        transport = self.join("a2")
        self.begin()
        self.push(1, 2, 3, key=True)
        transport.read(0)
        self.push(1, 2, 3)
        self.assertEqual(bytes(transport.got), b"[3] 3 3 ")

    def test_choices_are_bounded(self) -> None:
        with mock.patch.object(module, "MAX_CHOICES", 2):
            self.push(1, 2, 3, key=True)
            self.join("v1")
            second = self.join("a1")
            self.assertRaises(Refused, self.join, "a2")
            self.join("v1")
            self.join()
            self.leave(second)
            self.join("a2")

    def test_what_is_not_there_is_no_other_choice(self) -> None:
        """One viewer that asks for v1a2, v1a3 … of a stream without them takes nobody else's place."""
        self.push(1, 2, 3, key=True)
        for number in range(3, 99):
            self.join(f"v1a{number}")
        self.assertEqual(list(self.playout.feeds()), ["p v1"])

    def test_each_container_has_its_own_choices(self) -> None:
        self.playout = Playout(self.stream, self.clock, {"p": self.make, "q": self.make}, FeedLimits())
        with mock.patch.object(module, "MAX_CHOICES", 1):
            self.push(1, 2, 3, key=True)
            self.join("v1")
            self.assertRaises(Refused, self.playout.tracks, "p", choice("a1"))
            self.playout.join("q", KernelTransport(), lambda reason: None, choice("a1"))

    def test_what_players_read_is_a_choice(self) -> None:
        """Each of them is muxed for itself; a push, which is configured, is not refused for their sake."""
        muxers: Any = RtmpMuxers()
        self.playout = Playout(self.stream, self.clock, muxers, FeedLimits())

        def join(container: str, selection: str = "") -> Viewer:
            chosen = choice(selection) if selection else None
            return self.playout.join(container, KernelTransport(), lambda reason: None, chosen)

        with mock.patch.object(module, "MAX_CHOICES", 2):
            self.push(1, 2, 3, key=True)
            viewer = join("rtmp+nano")
            join("rtmp", "v1")
            for container in ("rtmp+tracks", "rtmp@7"):
                for ask in (join, self.playout.tracks):
                    with self.assertRaises(Refused) as caught:
                        ask(container)
                    self.assertIs(caught.exception.reason, Reason.OVERLOADED, "also before it begins")
            for container in ("rtmp+nano", "rtmp", "rtmppush+nano", "rtmppush@7", "rtmppush@8"):
                join(container)
            viewer.leave()
            self.assertEqual(
                list(self.playout.counters),
                ["rtmp+nano", "rtmp", "rtmppush+nano", "rtmppush"],
                "no message streams",
            )
