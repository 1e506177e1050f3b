"""How a transport stream is paced into datagrams: the clock, the rate, the tables, what is too much."""

from __future__ import annotations

from itertools import pairwise

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import Refused
from restreamer.media.frame import Frame
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import TrackKind, Tracks
from restreamer.mpegts.program import ProgramLayout
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from restreamer.testing.ts_reader import TsReader
from restreamer.tsio.pacer import Pacer
from restreamer.tsio.push_options import push_options
from restreamer.tsio.sending_clock import LEAD, SendingClock
from test.mpegts.test_demux import facts, read

BOTH: Tracks = (h264_track(), aac_track())
ASIDE = ProgramLayout(clock_aside=True)
MASK = (1 << 33) - 1


def run(
    frames: list[Frame], pacer: Pacer, turn: float = 0.01, late: float = 0.0, tail: float = 1.0
) -> list[tuple[float, bytes]]:
    """Send C{frames}, each C{late} seconds behind its DTS, in turns; gives (seconds, datagram)."""
    sent = []
    waiting = list(frames)
    now = 100.0
    begin = frames[0].dts
    end = now + (frames[-1].dts - begin) / TICKS_PER_SECOND + late + tail
    start = now
    while now < end:
        while waiting and start + (waiting[0].dts - begin) / TICKS_PER_SECOND + late <= now:
            pacer.add(waiting.pop(0), now)
        room = pacer.due(now)
        while datagram := pacer.datagram(now, room):
            room -= len(datagram) // 188
            sent.append((now, pacer.stamped(datagram, now)))
        now += turn
    return sent


def clocks(sent: list[tuple[float, bytes]]) -> list[tuple[float, float]]:
    """(seconds, PCR in seconds) of each PCR."""
    found = []
    for now, datagram in sent:
        for at in range(0, len(datagram), 188):
            row = datagram[at : at + 188]
            if row[3] & 0x20 and row[4] >= 7 and row[5] & 0x10:
                base = int.from_bytes(row[6:10], "big") << 1 | row[10] >> 7
                found.append((now, (base * 300 + ((row[10] & 1) << 8 | row[11])) / 27e6))
    return found


class Pacing(SynchronousTestCase):
    def test_all_frames_in_time(self) -> None:
        frames = make_frames(4.0)
        pacer = Pacer(ASIDE, "t")
        pacer.configure(BOTH)
        sent = run(frames, pacer)
        data = b"".join(datagram for _, datagram in sent)
        self.assertEqual(facts(read(data)[1]), facts(frames))
        # The reader checks counters, tables and that the clock is never past a DTS.
        TsReader(max_pcr_spacing=9000).feed(data).finish()
        self.assertTrue(all(len(datagram) <= 1316 for _, datagram in sent))
        self.assertEqual(pacer.overflows, 0)

    def test_the_clock_is_true(self) -> None:
        for bitrate in (0, 1_500_000):
            pacer = Pacer(ASIDE, "t", bitrate)
            pacer.configure(BOTH)
            found = clocks(run(make_frames(4.0), pacer))
            self.assertLessEqual(max(b[0] - a[0] for a, b in pairwise(found)), 0.0201)
            off = [pcr - now for now, pcr in found]
            self.assertLess(max(off) - min(off), 0.0005)

    def test_the_clock_is_read_last(self) -> None:
        """What happens between the making of a datagram and its leaving is in the PCR."""
        pacer = Pacer(ASIDE, "t")
        pacer.configure(BOTH)
        for frame in make_frames(0.5):
            pacer.add(frame, 100.0)
        found = []
        for turn in range(20):
            now = 100.0 + turn * 0.02
            room = pacer.due(now)
            while datagram := pacer.datagram(now, room):
                room -= len(datagram) // 188
                now += 0.0007
                found += clocks([(now, pacer.stamped(datagram, now))])
        off = [pcr - now for now, pcr in found]
        self.assertGreater(len(found), 10)
        self.assertLess(max(off) - min(off), 1e-6)

    def test_constant_rate(self) -> None:
        frames = make_frames(4.0)
        pacer = Pacer(ASIDE, "t", 2_000_000)
        pacer.configure(BOTH)
        sent = run(frames, pacer, tail=0.5)
        self.assertEqual({len(datagram) for _, datagram in sent}, {1316})
        span = sent[-1][0] - sent[0][0]
        self.assertLess(abs(sum(len(d) for _, d in sent) * 8 / span / 2_000_000 - 1.0), 0.01)
        for begin in range(100, 104):
            second = [d for now, d in sent if begin <= now < begin + 1]
            self.assertLess(abs(len(second) * 1316 * 8 / 2_000_000 - 1.0), 0.02)
        data = b"".join(datagram for _, datagram in sent)
        self.assertEqual(facts(read(data)[1]), facts(frames))
        TsReader().feed(data).finish()

    def test_a_rate_that_is_too_low(self) -> None:
        pacer = Pacer(ASIDE, "t", 200_000)
        pacer.configure(BOTH)
        sent = run(make_frames(10.0), pacer)
        self.assertGreater(pacer.overflows, 0)
        self.assertLess(abs(sum(len(d) for _, d in sent) * 8 / 11 - 200_000), 4000)

    def test_frames_that_come_in_bursts_are_held(self) -> None:
        frames = make_frames(4.0)
        pacer = Pacer(ASIDE, "t")
        pacer.configure(BOTH)
        for frame in frames:
            pacer.add(frame, 100.0)
        sent = []
        now = 100.0
        while now < 104.5:
            room = pacer.due(now)
            while datagram := pacer.datagram(now, room):
                room -= len(datagram) // 188
                sent.append((now, pacer.stamped(datagram, now)))
            now += 0.01
        data = b"".join(datagram for _, datagram in sent)
        self.assertEqual(facts(read(data)[1]), facts(frames))
        self.assertGreater(sent[-1][0], 103.0)
        TsReader().feed(data).finish()

    def test_a_new_clock_says_so(self) -> None:
        pacer = Pacer(ASIDE, "t")
        pacer.configure(BOTH)
        first = make_frames(2.0)
        second = make_frames(2.0, start=START + 100 * TICKS_PER_SECOND)
        data = [d for _, d in run(first, pacer)]
        pacer.configure(BOTH, True)
        data += [d for _, d in run(second, pacer)]
        flagged = [
            row
            for datagram in data
            for row in (datagram[at : at + 188] for at in range(0, len(datagram), 188))
            if row[3] & 0x20 and row[4] and row[5] & 0x80
        ]
        self.assertGreaterEqual(len(flagged), 2)
        self.assertEqual(len(read(b"".join(data))[1]), len(first) + len(second))

    def test_it_begins_with_a_keyframe(self) -> None:
        frames = make_frames(4.0)
        pacer = Pacer(ASIDE, "t")
        pacer.configure(BOTH)
        sent = run(frames[10:], pacer)
        got = read(b"".join(datagram for _, datagram in sent))[1]
        self.assertTrue(next(frame for frame in got if frame.track_id == 1).key)

    def test_a_late_turn_costs_its_time_only(self) -> None:
        pacer = Pacer(ASIDE, "t", 2_000_000)
        pacer.configure(BOTH)
        for frame in make_frames(0.4):
            pacer.add(frame, 100.0)
        self.assertEqual(pacer.due(100.0), 0)
        self.assertLess(pacer.due(105.0), 0.06 * 2_000_000 / 8 / 188)


class Clocks(SynchronousTestCase):
    def test_it_follows_a_drift_slowly(self) -> None:
        clock = SendingClock()
        now = 0.0
        for second in range(600):
            # The frames' clock runs 40 ppm fast.
            clock.arrived(int(START + second * TICKS_PER_SECOND * (1 + 40e-6)), now)
            now += 1.0
        self.assertEqual(clock.settings, 1)
        ahead = START + 600 * TICKS_PER_SECOND * (1 + 40e-6) - clock.ticks(now)
        self.assertLess(abs(ahead - LEAD), 9000)

    def test_it_is_set_when_frames_are_late_or_jump(self) -> None:
        clock = SendingClock()
        self.assertTrue(clock.arrived(START, 0.0))
        self.assertFalse(clock.arrived(START + TICKS_PER_SECOND, 1.3))
        self.assertTrue(clock.arrived(START + TICKS_PER_SECOND, 1.6))
        self.assertFalse(clock.arrived(START + 2 * TICKS_PER_SECOND, 2.6))
        self.assertTrue(clock.arrived(START + 200 * TICKS_PER_SECOND, 2.7))


class Options(SynchronousTestCase):
    def test_all(self) -> None:
        options = push_options(
            {
                "pids": "pmt:0x64,v1:101,a0:200,a2:0x12c",
                "pnr": "7",
                "service": "Név",
                "provider": "P",
                "bitrate": "4000",
                "ttl": "9",
                "multicast_loop": "false",
                "interface": "eth0",
            },
            "x=1&tracks=v1a2",
        )
        self.assertEqual((options.bitrate, options.ttl, options.loop), (4_000_000, 9, False))
        self.assertEqual((options.interface, str(options.selection)), ("eth0", "v1a2"))
        layout = options.layout
        self.assertEqual((layout.number, layout.pmt_pid, layout.provider), (7, 100, "P"))
        audio = evolve(aac_track(), track_id=3)
        places = [
            layout.pid(h264_track(), 1),
            layout.pid(audio, 1),
            layout.pid(audio, 2),
            layout.pid(audio, 3),
        ]
        self.assertEqual(places, [101, 201, 300, 203])
        self.assertEqual(layout.pid(evolve(h264_track(), track_id=5), 2), 0x105)
        self.assertEqual({kind for kind, _, _ in layout.pids}, {TrackKind.VIDEO, TrackKind.AUDIO})

    def test_what_is_written(self) -> None:
        options = push_options({"pids": "pmt:100,v1:101,a1:102", "pnr": "7", "service": "S", "provider": "P"})
        pacer = Pacer(options.layout, options.service)
        pacer.configure(BOTH)
        reader = TsReader().feed(b"".join(d for _, d in run(make_frames(2.0), pacer))).finish()
        self.assertEqual((set(reader.streams), reader.pmt_pid), ({101, 102}, 100))
        self.assertEqual((reader.pcr_pid, reader.service), (101, ("P", "S")))

    def test_wrong_ones(self) -> None:
        for options, query in (
            ({"pids": "pmt:5"}, ""),
            ({"pids": "pmt:0x1fff"}, ""),
            ({"pids": "x1:100"}, ""),
            ({"pids": "pmt:100,v1:100"}, ""),
            ({"pids": "v1:zz"}, ""),
            ({"pnr": "x"}, ""),
            ({}, "tracks=all"),
        ):
            with self.assertRaises(Refused, msg=f"{options} {query}"):
                push_options(options, query)
