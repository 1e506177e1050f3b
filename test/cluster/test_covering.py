"""The backup of a source, when its streams are listed no more, and when the configuration changes."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from restreamer.cluster.offers import BackupOffer, SourceOffer
from restreamer.cluster.remote_streams import UNLISTED_SECONDS
from restreamer.live.registry import StreamSettings
from restreamer.m4f.records import Position
from restreamer.sources.input_slot import BackupRule, InputReports
from test.cluster.test_lists import FakePull, FakeSource, RemoteCase, listed


class CoveringTests(RemoteCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.files: list[FakePull] = []
        self.kept: list[StreamSettings] = []

    def backup(self, url: str = "vod/wait.mp4") -> BackupOffer:
        def begin(name: str, settings: StreamSettings, reports: InputReports) -> Any:
            self.kept.append(settings)
            self.files.append(FakePull(url, reports))
            return self.files[-1]

        return BackupOffer(url, BackupRule(1.0), begin)

    def covered(self, backup: BackupOffer | None) -> tuple[FakeSource, SourceOffer]:
        """A source with that backup, which lists C{a}."""
        fake, offer = self.source()
        offer.backup = backup
        self.streams.listed(offer, listed("a"))
        return fake, offer

    @property
    def shown(self) -> list[str]:
        """The backups that play now."""
        return [each.name for each in self.files if not each.stopped]

    def unlist(self, offer: SourceOffer) -> None:
        """The stream runs and is listed no more."""
        self.feed("a").lose("gone")
        self.streams.unlisted(offer, "a")
        self.clock.advance(1.5)

    def test_local_wins_over_what_covers(self) -> None:
        """A publisher comes while the backup covers a stream that nobody lists: the backup goes at once, and
        the publisher's stream is left alone.
        """
        _, offer = self.covered(self.backup())
        self.unlist(offer)
        self.assertEqual(self.shown, ["vod/wait.mp4"])
        self.claim("a")
        self.assertEqual(self.shown, [])
        self.clock.advance(UNLISTED_SECONDS * 2)
        self.assertIsNotNone(self.registry.find("a"))

    def test_a_source_that_is_removed_covers_nothing(self) -> None:
        _, offer = self.covered(self.backup())
        self.unlist(offer)
        self.streams.remove_source(offer)
        self.assertEqual(self.shown, [])
        self.assertIsNone(self.streams.source_of("a"))

    def test_another_backup(self) -> None:
        """A reload makes the source anew with another backup, or none: that one counts."""
        _, first = self.covered(self.backup("vod/old.mp4"))
        _, second = self.covered(None)
        self.feed("a")
        self.streams.remove_source(first)
        _, third = self.covered(self.backup("vod/new.mp4"))
        self.streams.reorder([third, second])
        self.streams.remove_source(second)
        self.clock.advance(1.5)
        self.assertEqual(self.shown, ["vod/new.mp4"], "nothing came for its timeout")
        self.streams.remove_source(third)
        _, _ = self.covered(None)
        self.assertEqual(self.shown, [])

    def test_settings_of_the_backup(self) -> None:
        """A backup that begins after a reload does not bring the settings of before back."""
        _, offer = self.covered(self.backup())
        offer.settings = StreamSettings(segment_count=9)
        self.streams.resettle(offer)
        self.unlist(offer)
        self.assertEqual([each.segment_count for each in self.kept], [9])

    def test_a_hidden_source_is_not_ahead(self) -> None:
        """What a source says of a stream that is not taken from it moves nobody."""
        one, first = self.source()
        two, second = self.source()
        _, hiding = self.source(hidden=("a",))
        for offer in (first, second, hiding):
            self.streams.listed(offer, listed("a"))
        self.feed("a")
        for number in range(1, 6):
            self.streams.positions(hiding, (Position("a", 77, number, 1, False),))
            self.clock.advance(0.5)
        self.assertEqual((one.running, two.running), (["a"], []))
