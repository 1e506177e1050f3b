"""Playlists and pieces behind the gate, through a real front: what is listed is given to its viewer alone."""

from __future__ import annotations

import re
from posixpath import normpath

from typing_extensions import override

from restreamer.dash.routes import dash_routes
from restreamer.hls.routes import hls_routes
from restreamer.live.stream import Stream
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.seams import OpenRequest
from restreamer.sessions.session_gate import SessionGate
from restreamer.testing.media import make_frames
from test.live.rig import SECOND, Origin
from test.sessions.rig import DENY, GateTestCase
from test.web.wires import Visit


class Guarded:
    """A watch point behind the gate."""

    def __init__(self, gate: SessionGate, stream: Stream) -> None:
        self.gate = gate
        self.stream = stream

    async def watch(self, request: OpenRequest) -> Stream:
        """The stream, for whoever is granted it."""
        await self.gate.open(request)
        return self.stream


class PlaylistTests(GateTestCase):
    """See the module."""

    @override
    def setUp(self) -> None:
        self.make()
        origin = Origin(segment_duration=2 * SECOND, part_duration=SECOND // 2)
        frames = make_frames(11, gop=25, video_bitrate=20_000)
        origin.play(origin.publish(), frames)
        point = Guarded(self.gate, origin.stream)
        routes = (hls_routes(point, mux_segment, self.clock), dash_routes(point, lambda: 0))
        self.visitor = Visit(*routes)
        self.addCleanup(self.visitor.close)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one request."""
        self.visitor.got = b""
        self.visitor.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        head, _, body = self.visitor.got.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode("latin-1")

    def walk(self, path: str) -> set[str]:
        """All addresses that playlists list, from C{path} on."""
        listed: set[str] = set()
        self._walk(path, listed)
        return listed

    def _walk(self, path: str, listed: set[str]) -> None:
        status, body = self.get(path)
        self.assertEqual(status, 200, path)
        folder = path.partition("?")[0].rpartition("/")[0]
        found = [line for line in body.splitlines() if line and not line.startswith("#")]
        # What is hinted at is not there yet.
        found += re.findall(r'^#(?!EXT-X-PRELOAD-HINT).*URI="([^"]+)"', body, re.MULTILINE)
        for uri in found:
            address = normpath(f"{folder}/{uri}")
            if address not in listed:
                listed.add(address)
                if ".m3u8" in address:
                    self._walk(address, listed)

    def test_hls(self) -> None:
        """Each address in each playlist is given with its token and refused without, and counted."""
        for query, without in (("?token=mine", 403), ("", 200)):
            for file in ("index.m3u8", "index.ts.m3u8", "index.fmp4.m3u8", "index.ll.m3u8"):
                listed = self.walk(f"/cam/{file}{query}")
                self.assertGreater(len(listed), 1, file)
                for address in listed:
                    self.assertRegex(address, r"\?token=(mine|[0-9a-f]{32})$")
                    if ".m3u8" in address:
                        continue
                    if self.get(address)[0] != 200:
                        self.fail(f"{address}: {self.get(address)}")
                    plain = address.partition("?")[0]
                    # Who has no token is known by the one it got.
                    self.assertEqual(self.get(plain)[0], without, plain)
                    self.assertEqual(self.get(plain + "?token=wrong")[0], 403)
        self.assertEqual(len(self.backend.questions), 2)
        self.assertEqual(self.table.total(), 2)
        for told in self.table:
            self.assertGreater(told.bytes, 10_000)
            self.assertIsNotNone(told.started_at)

    def test_dash(self) -> None:
        """The same of DASH, whose pieces are those of HLS."""
        status, body = self.get("/cam/index.mpd?token=mine")
        self.assertEqual(status, 200)
        self.assertIn("?token=mine", body)
        address = next(each for each in sorted(self.walk("/cam/index.fmp4.m3u8?token=hls")) if ".m4s" in each)
        self.assertEqual(self.get(address.replace("token=hls", "token=mine"))[0], 200)
        self.assertEqual(self.get(address.replace("token=hls", "token=other"))[0], 403)

    def test_denied(self) -> None:
        """Nothing for who is denied."""
        self.backend.say = DENY
        for file in ("index.m3u8", "index.ll.m3u8", "index.mpd"):
            self.assertEqual(self.get(f"/cam/{file}?token=mine")[0], 403)
        self.assertEqual(self.table.total(), 0)
