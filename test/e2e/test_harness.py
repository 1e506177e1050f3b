"""The harness itself: what it would let pass, no test could find."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from test.e2e.crowd import Reader, Seen, shift_of, tags
from test.e2e.machine import Delays, stretch
from test.e2e.nodes import ALARMS, LateError, Node, secrets_of, wait_until
from test.e2e.players import HttpStream
from test.e2e.playlists import check_reload, parse
from test.e2e.rtmp_wire import AUDIO, VIDEO, Tag, amf0, looped, message

GOOD = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:4
#EXT-X-MEDIA-SEQUENCE:10
#EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:00:00.000Z
#EXTINF:2.000,
10.ts
#EXT-X-PROGRAM-DATE-TIME:2026-11-22T13:00:02.000Z
#EXTINF:2.000,
11.ts
"""


class Playlists(SynchronousTestCase):
    """The strict reader."""

    def test_good(self) -> None:
        """A right playlist is read."""
        playlist = parse(GOOD)
        self.assertEqual(playlist.numbers, [10, 11])
        self.assertEqual(playlist.segments[1].uri, "11.ts")

    def test_broken(self) -> None:
        """Each of these breaks a rule."""
        changes = [
            ("#EXTM3U\n", ""),
            ("#EXTINF:2.000,\n11", "11"),
            ("TARGETDURATION:4", "TARGETDURATION:1"),
            ("#EXT-X-VERSION:3", "#EXT-X-NONSENSE"),
            ("13:00:02.000", "13:00:03.000"),
            ("\n#EXT-X-MEDIA-SEQUENCE:10", ""),
            ("11.ts\n", "11.ts\r\n"),
        ]
        for right, wrong in changes:
            self.assertIn(right, GOOD)
            with self.assertRaises(AssertionError, msg=wrong):
                parse(GOOD.replace(right, wrong))

    def test_reloads(self) -> None:
        """A playlist may move on; it may not fall back, nor give a number another URI."""
        old = parse(GOOD)
        check_reload(old, parse(GOOD))
        later = GOOD.replace("SEQUENCE:10", "SEQUENCE:11").replace("11.ts", "12.ts").replace("10.ts", "11.ts")
        check_reload(old, parse(later))
        for bad in (GOOD.replace("SEQUENCE:10", "SEQUENCE:9"), GOOD.replace("11.ts", "12.ts")):
            with self.assertRaises(AssertionError):
                check_reload(old, parse(bad))


class Wire(SynchronousTestCase):
    """The little RTMP client."""

    def test_chunks(self) -> None:
        """A message longer than a chunk goes on after type 3 headers; the extended timestamp is repeated."""
        data = message(VIDEO, b"a" * 300, 5, 1, 6, size=128)
        self.assertEqual(data[:12], bytes.fromhex("06 000005 00012c 09 01000000"))
        self.assertEqual(data[12 + 128], 0xC6)
        self.assertEqual(len(data), 12 + 300 + 2)
        extended = message(VIDEO, b"a" * 200, 0x2000000, 1, 6, size=128)
        self.assertEqual(extended.count(b"\x02\x00\x00\x00"), 2)

    def test_amf0(self) -> None:
        """Values as in the AMF 0 specification."""
        self.assertEqual(amf0("a", 1, None, True), bytes.fromhex("02 0001 61 00 3ff0000000000000 05 01 01"))
        self.assertEqual(amf0({"k": "v"}), bytes.fromhex("03 0001 6b 02 0001 76 000009"))

    def test_loops(self) -> None:
        """A looped file goes on without a jump, and its headers come once."""
        header = Tag(VIDEO, 0, b"\x17\x00")
        tags = [
            header,
            Tag(VIDEO, 0, b"\x17\x01a"),
            Tag(AUDIO, 20, b"\xaf\x01"),
            Tag(VIDEO, 40, b"\x27\x01b"),
        ]
        rounds = looped(tags)
        times = [next(rounds).timestamp for _ in range(8)]
        self.assertEqual(times, [0, 0, 20, 40, 80, 100, 120, 160])


class Counting(SynchronousTestCase):
    """What a crowd counts before it goes home."""

    def test_frames_and_no_tables(self) -> None:
        """One count for each frame that begins; PAT, SDT and PMT are none; half a packet waits."""
        pids = [(0, True), (0x11, True), (0x1000, True), (0x101, True), (0x101, False), (0x102, True)]
        data = b"".join(
            bytes([0x47, 0x40 * begins | pid >> 8, pid & 0xFF]).ljust(188, b"\0") for pid, begins in pids
        )
        reader = Reader(cast(Node, None), "x", cast(HttpStream, None))
        reader.data += data[:-10]
        self.assertEqual(reader.count(), {0x101: 1})
        reader.data += data[-10:] + data[3 * 188 : 4 * 188]
        self.assertEqual(reader.count(), {0x101: 2, 0x102: 1})

    def test_tags(self) -> None:
        """Video and audio of an FLV file as far as it is written; other tags are none."""

        def tag(kind: int, size: int) -> bytes:
            return bytes([kind]) + size.to_bytes(3) + bytes(7 + size + 4)

        path = Path(self.mktemp())
        path.write_bytes(bytes(13) + tag(18, 5) + tag(9, 100) + tag(8, 10) + tag(9, 7)[:-1])
        self.assertEqual(tags(path), {9: 1, 8: 1})


class Machine(SynchronousTestCase):
    """The measure of the machine's own delays."""

    def test_busy_thread(self) -> None:
        """While others run, work is late, and that is told; a mark forgets it; nothing goes below zero."""
        over = threading.Event()

        def busy() -> None:
            while not over.is_set():
                sum(range(1000))

        others = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
        with Delays() as delays:
            for thread in others:
                thread.start()
            wait_until(lambda: delays.longest > 0.001, 10.0, "a delay is seen")
            self.assertGreater(delays.allowance, delays.longest)
            over.set()
            for thread in others:
                thread.join()
        delays.mark()
        self.assertEqual(delays.allowance, 0.0)
        self.assertGreaterEqual(stretch(), 1.0)


class Waiting(SynchronousTestCase):
    """Waiting and listening."""

    def test_late(self) -> None:
        """What does not come true in time is told with its name."""
        error = self.assertRaises(LateError, wait_until, lambda: False, 0.05, "pigs fly")
        self.assertIn("pigs fly", str(error))

    def test_alarms(self) -> None:
        """What counts as an alarm in a log."""
        for line in (
            "[x#error] bad",
            "Traceback (most recent call last):",
            "Unhandled Error",
            "[x#critical] worse",
            "[x#warn] segment 7 of live/cam came damaged",
        ):
            self.assertTrue(ALARMS.search(line), line)
        for line in ("[x#info] all well", "[x#warn] so so", "12 errors counted"):
            self.assertFalse(ALARMS.search(line), line)


class Discretion(SynchronousTestCase):
    """What no log of a node may have."""

    def test_secrets(self) -> None:
        """The secrets of a configuration are found in it, and nothing else."""
        for text, expected in (
            ("cluster_key abcdefghijk;", {"abcdefghijk"}),
            ("stream s { input publish://; password hunter2hunter2; title x; }", {"hunter2hunter2"}),
            ("view_auth viewer look-at-it; edit_auth admin change-it;", {"look-at-it", "change-it"}),
            ("dvr s3://key:secret/1+x@127.0.0.1:80/b;", set()),
            ("dvr s3://key:secret-x@127.0.0.1:80/b;", {"secret-x"}),
            ("on_play securetoken://sign-it-all?no_check_ip=true;", {"sign-it-all"}),
            ("http 127.0.0.1:80; source 127.0.0.1:80 { } input rtsp://h:554/a@b;", set()),
            ("password short;", set()),
        ):
            self.assertEqual(secrets_of(text), expected, text)

    def test_found_in_a_log(self) -> None:
        """Also one of a configuration that it had before; each place is told of once."""
        node = Node("node", "password hunter2hunter2;", Path(self.mktemp()))
        node.write_config("")
        node.log.write_text("nothing\n")
        node.assert_quiet()
        node.log.write_text("nothing\nrefused: hunter2hunter2\n")
        told = str(self.assertRaises(AssertionError, node.assert_quiet))
        self.assertIn("refused: <SECRET>", told)
        self.assertNotIn("hunter2", told)
        node.assert_quiet()


class Shifts(SynchronousTestCase):
    """How two nodes' times of the same frame differ."""

    def test_the_nearest_loop(self) -> None:
        """Who came a frame later has the same frames first a whole loop off."""
        mine = [Seen("256", 3600 * at, str(at % 20)) for at in range(60)]
        theirs = [Seen("256", 3600 * at + 99, str(at % 20)) for at in range(1, 60)]
        self.assertEqual(shift_of(mine, theirs, "loops"), 99)
