"""L{restreamer.rtmp.capabilities} and L{restreamer.rtmp.play_choice}."""

from __future__ import annotations

import math
from typing import Any

from attrs import define
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.errors import Reason, Refused
from restreamer.flv.bodies import forms
from restreamer.flv.dialect import AUDIO_FOURCCS, VIDEO_FOURCCS, Dialect, parse_container
from restreamer.media.selection import TrackSelection
from restreamer.media.track import AAC, AV1, H264, HEVC, OPUS, Tracks
from restreamer.rtmp.capabilities import (
    NOTHING,
    Capabilities,
    named_capabilities,
    our_capabilities,
    read_capabilities,
)
from restreamer.rtmp.play_choice import choose
from restreamer.seams import FeedViewer, Playable
from test.flv.samples import AUDIO, VIDEO, with_id

AVC_AAC: Tracks = (VIDEO[H264], AUDIO[AAC])
HEVC_OPUS: Tracks = (VIDEO[HEVC], AUDIO[OPUS])
MANY: Tracks = (VIDEO[H264], AUDIO[AAC], with_id(AUDIO[OPUS], 65))


class CapabilityTests(SynchronousTestCase):
    """What connect says."""

    def test_table(self) -> None:
        """Lists, masks, the star, and nonsense."""
        table: list[tuple[dict[str, Any], Capabilities]] = [
            ({}, NOTHING),
            ({"fourCcList": ["hvc1", "av01"]}, Capabilities(frozenset({HEVC, AV1}))),
            ({"fourCcList": ["*"]}, Capabilities(anything=True)),
            ({"videoFourCcInfoMap": {"hvc1": 1.0, "av01": 2.0}}, Capabilities(frozenset({HEVC}))),
            ({"audioFourCcInfoMap": {"*": 4.0}}, Capabilities(frozenset(AUDIO_FOURCCS))),
            ({"videoFourCcInfoMap": {"*": 4.0, "hvc1": 0.0}}, Capabilities(frozenset(VIDEO_FOURCCS))),
            ({"videoFourCcInfoMap": {"*": 2.0, "hvc1": 1.0}}, Capabilities(frozenset({HEVC}))),
            ({"capsEx": 15.0}, Capabilities(flags=15)),
            ({"capsEx": math.nan, "fourCcList": "hvc1", "videoFourCcInfoMap": ["hvc1"]}, NOTHING),
            ({"capsEx": -1, "fourCcList": [1, None, {}], "audioFourCcInfoMap": {"Opus": "1"}}, NOTHING),
        ]
        for properties, want in table:
            with self.subTest(properties=properties):
                self.assertEqual(read_capabilities(properties), want)
        many = read_capabilities({"fourCcList": [f"c{n}" for n in range(10_000)]})
        self.assertEqual(len(many.codecs), 64)

    def test_dialects(self) -> None:
        """Only what the stream has and the peer reads."""
        table = [
            (NOTHING, HEVC_OPUS, "rtmp"),
            (Capabilities(frozenset({HEVC})), HEVC_OPUS, "rtmp+hvc1"),
            (Capabilities(frozenset({HEVC, AV1, OPUS})), HEVC_OPUS, "rtmp+Opus+hvc1"),
            (read_capabilities({"videoFourCcInfoMap": {"*": 1.0}}), HEVC_OPUS, "rtmp+hvc1"),
            (Capabilities(anything=True), AVC_AAC, "rtmp"),
            (Capabilities(anything=True), HEVC_OPUS, "rtmp+Opus+hvc1"),
            (Capabilities(anything=True, flags=2), HEVC_OPUS, "rtmp+Opus+hvc1"),
            (Capabilities(anything=True, flags=2), MANY, "rtmp+Opus+tracks"),
            (Capabilities(flags=2), MANY, "rtmp"),
            (Capabilities(anything=True, flags=12), AVC_AAC, "rtmp+nano"),
            (Capabilities(frozenset({HEVC}), flags=15), HEVC_OPUS, "rtmp+hvc1"),
            (Capabilities(frozenset({H264, AAC}), flags=8), AVC_AAC, "rtmp"),
        ]
        for capabilities, tracks, want in table:
            with self.subTest(capabilities=capabilities, want=want):
                self.assertEqual(capabilities.dialect(tracks).container(), want)

    def test_ours(self) -> None:
        """We understand ourselves, with every extension."""
        ours = read_capabilities(our_capabilities(1))
        self.assertEqual(ours.dialect(MANY), Dialect(frozenset({OPUS}), True, True))


@define
class Stream(Playable):
    """A stream of C{table}."""

    table: Tracks

    @override
    def tracks(self, container: str, selection: TrackSelection | None = None) -> Tracks:
        found = parse_container(container)
        assert found is not None
        wanted = self.table if selection is None else selection.of(self.table)
        carried = tuple(track for track in wanted if forms((track,), found[2]))
        if not carried:
            raise Refused(Reason.UNSUPPORTED, "none")
        return carried

    @override
    def join(self, *arguments: Any) -> FeedViewer:
        raise NotImplementedError


class ChoiceTests(SynchronousTestCase):
    """What a player gets."""

    def test_choices(self) -> None:
        """By announcement, by the address, by chosen tracks."""
        table = [
            (NOTHING, "", AVC_AAC, "rtmp"),
            (NOTHING, "fourcc=hvc1", HEVC_OPUS, "rtmp+hvc1"),
            (NOTHING, "token=x&fourcc=*", HEVC_OPUS, "rtmp+Opus+hvc1"),
            (NOTHING, "fourcc=*", MANY, "rtmp+Opus"),
            (NOTHING, "fourcc=*&filter.tracks=v1a1a2", MANY, "rtmp+Opus+tracks"),
            (NOTHING, "filter.tracks=a1", HEVC_OPUS[:1] + AVC_AAC[1:], "rtmp"),
        ]
        for capabilities, query, tracks, want in table:
            with self.subTest(query=query, want=want):
                self.assertEqual(choose(Stream(tracks), capabilities, query).container, want)
        self.assertEqual(named_capabilities("hvc1,,Opus").codecs, {HEVC, OPUS})

    def test_refusals(self) -> None:
        """Nothing it reads; nonsense."""
        error = self.assertRaises(Refused, choose, Stream(HEVC_OPUS), NOTHING, "")
        self.assertIs(error.reason, Reason.UNSUPPORTED)
        error = self.assertRaises(Refused, choose, Stream(AVC_AAC), NOTHING, "filter.tracks=%00")
        self.assertIs(error.reason, Reason.BAD_NAME)
