"""Master playlists with a choice of tracks."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.hls.variants import Offer, chosen_tracks, offering_master
from restreamer.media.track import Tracks
from restreamer.testing.media import aac_track, h264_track, mp3_track

_VIDEO = h264_track(1, 900_000)
_ENGLISH = evolve(aac_track(2, 100_000), language="eng")
_GERMAN = evolve(aac_track(3, 100_000), language="deu", channels=6)


def master(tracks: Tracks, muxed: bool = False) -> list[str]:
    def uri(names: Sequence[str]) -> str:
        return "+".join(names)

    named = chosen_tracks(tracks, lambda track: True, lambda track: True)
    text = offering_master(
        Offer(tracks=named, sizes={1: 200_000, 2: 20_000, 3: 30_000}, duration=180_000, uri=uri, muxed=muxed)
    )
    return text.splitlines()


class OfferTests(SynchronousTestCase):
    def test_apart(self) -> None:
        self.assertEqual(
            master((_VIDEO, _ENGLISH, _GERMAN)),
            [
                "#EXTM3U",
                "#EXT-X-VERSION:4",
                '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio1",NAME="eng",LANGUAGE="eng",DEFAULT=YES,AUTOSELECT=YES,'
                'CHANNELS="2",URI="a1"',
                '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio1",NAME="deu",LANGUAGE="deu",DEFAULT=NO,AUTOSELECT=YES,'
                'CHANNELS="6",URI="a2"',
                '#EXT-X-STREAM-INF:BANDWIDTH=1000000,AVERAGE-BANDWIDTH=1000000,CODECS="avc1.64001E,mp4a.40.2",'
                'RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO="audio1"',
                "v1",
            ],
        )

    def test_muxed(self) -> None:
        """The first sound is in the variant, so it has no playlist of its own."""
        lines = master((_VIDEO, _ENGLISH, _GERMAN), muxed=True)
        self.assertEqual(["URI=" in line for line in lines if "MEDIA" in line], [False, True])
        self.assertEqual(lines[-1], "v1+a1")
        self.assertEqual(master((_VIDEO, _ENGLISH), muxed=True)[-1], "v1+a1")
        self.assertEqual(len(master((_VIDEO, _ENGLISH), muxed=True)), 4)

    def test_two_codecs_of_sound(self) -> None:
        """Each has a group and a variant, so that CODECS are true."""
        for muxed in (False, True):
            lines = master((_VIDEO, _ENGLISH, mp3_track(3)), muxed)
            self.assertEqual(sum("STREAM-INF" in line for line in lines), 2)
            self.assertIn("mp4a.40.34", lines[-2])
            self.assertNotIn("mp4a.40.2,", lines[-2])

    def test_what_players_take_comes_first(self) -> None:
        lines = master((_VIDEO, mp3_track(2), evolve(_GERMAN, track_id=3)))
        codecs = [line.partition('CODECS="')[2].partition('"')[0] for line in lines if "STREAM-INF" in line]
        self.assertEqual(codecs, ["avc1.64001E,mp4a.40.2", "avc1.64001E,mp4a.40.34"])

    def test_sound_alone(self) -> None:
        self.assertEqual(master((_ENGLISH,))[-1], "a1")
        self.assertEqual(len(master((_ENGLISH,))), 4)
        lines = master((_ENGLISH, _GERMAN))
        self.assertEqual(["URI=" in line for line in lines if "MEDIA" in line], [False, True])

    def test_pictures(self) -> None:
        self.assertEqual(master((_VIDEO,))[-1], "v1")
        lines = master((_VIDEO, evolve(_VIDEO, track_id=2), _GERMAN))
        self.assertEqual([line for line in lines if not line.startswith("#")], ["v1", "v2"])

    def test_names_are_unique(self) -> None:
        """Two of one language have numbers, and a player chooses the first by itself."""
        lines = master((_VIDEO, _ENGLISH, evolve(_ENGLISH, track_id=3), aac_track(4)))
        media = [line for line in lines if "MEDIA" in line]
        names = [line.partition('NAME="')[2].partition('"')[0] for line in media]
        self.assertEqual(names, ["Audio 1", "Audio 2", "Audio 3"])
        self.assertEqual(["AUTOSELECT=YES" in line for line in media], [True, False, True])
        self.assertEqual(["LANGUAGE" in line for line in media], [True, True, False])
