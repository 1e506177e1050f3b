"""Players that come in the middle of a long group of pictures, against a real core."""

from __future__ import annotations

from typing_extensions import override

from restreamer.rtmp.message import Audio, Data, Video
from test.rtmp.test_hostile import HostileCase, audio, avc
from test.rtmp.test_protocol import CONFIGS
from test.rtmp.wire import play_opening


class LateJoinTests(HostileCase):
    """A stream with a keyframe every ten seconds."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.source = self.publish()
        self.source.send(CONFIGS)
        self.at = 0

    def go_on(self, seconds: int) -> None:
        """Publish pictures and sound in real time."""
        for _ in range(seconds * 25):
            self.clock.advance(0.04)
            self.source.send(avc(self.at, self.at % 10_000 == 0) + audio(b"\xaf\1raw", self.at))
            self.at += 40

    def test_it_begins_at_the_last_keyframe(self) -> None:
        """At once, with metadata and headers, and everything since; else it would wait for the next one."""
        self.go_on(18)
        player = self.connect(play_opening())
        self.pump(player)
        found = player.wire.messages()
        first = next(n for n, each in enumerate(found) if isinstance(each, Data) and len(each.values) == 2)
        media = found[first:]
        self.assertEqual([type(each) for each in media[:3]], [Data, Video, Audio])
        pictures = [each for each in media[1:] if isinstance(each, Video) and each.payload[1] == 1]
        self.assertEqual([each.timestamp for each in pictures], list(range(10_000, 18_000, 40)))
        self.assertEqual(pictures[0].payload[0], 0x17)
        sounds = [each for each in media[1:] if isinstance(each, Audio) and each.payload[1] == 1]
        self.assertEqual([each.timestamp for each in sounds], list(range(10_000, 18_000, 40)))
        for _ in range(50):
            self.clock.advance(0.04)
            self.source.send(avc(self.at, self.at % 10_000 == 0))
            self.at += 40
            self.pump(player)
        after = [each.timestamp for each in player.wire.messages() if isinstance(each, Video)]
        self.assertEqual(after, list(range(18_000, 20_000, 40)))
