"""A source whose lists and settings change while it is linked: what is needed as before is not touched."""

from __future__ import annotations

from attrs import define, evolve, field
from typing_extensions import override

from restreamer.cluster.offers import SourceOffer
from restreamer.live.demand import OnDemand
from restreamer.live.registry import StreamSettings
from restreamer.sources.input_slot import InputReports
from test.cluster.test_lists import FakePull, FakeSource, RemoteCase, listed


@define(eq=False)
class KeepingPull(FakePull):
    """A pull that makes its stream itself."""

    settings: list[StreamSettings] = field(factory=list)

    def resettle(self, settings: StreamSettings) -> None:
        self.settings.append(settings)


@define(eq=False)
class KeepingSource(FakeSource):
    kept: list[KeepingPull] = field(factory=list)

    @override
    def pull(
        self, remote: str, name: str, settings: StreamSettings, reports: InputReports, standby: bool
    ) -> KeepingPull:
        pull = KeepingPull(name, reports, not standby)
        self.pulls.append(pull)
        self.kept.append(pull)
        return pull


class ResettleTests(RemoteCase):
    def kept(self) -> tuple[KeepingSource, SourceOffer]:
        """A source that lists C{a} and C{b}, which run, and C{c}."""
        fake = KeepingSource()
        offer = SourceOffer("there", None, (), self.settings, 10.0, fake.pull)
        self.streams.add_source(offer)
        for name in ("a", "b"):
            self.streams.listed(offer, listed(name))
        self.streams.listed(offer, listed("c", running=False))
        return fake, offer

    def test_lists(self) -> None:
        fake, offer = self.kept()
        offer.hidden = ("b", "c")
        self.streams.resettle(offer)
        self.assertEqual((fake.running, self.registry.supplies()), (["a"], ()))
        offer.hidden = ()
        offer.only = ("b", "c")
        self.streams.resettle(offer)
        self.clock.pump([0.5] * 6)
        self.assertEqual((fake.running, self.registry.supplies()), (["b", "c"], ("a",)))
        offer.only = None
        self.streams.resettle(offer)
        self.clock.pump([0.5] * 6)
        self.assertEqual(fake.running, ["a", "b"])
        self.assertEqual(self.registry.supplies(), ("c",))

    def test_what_is_listed_as_before_goes_on(self) -> None:
        fake, offer = self.kept()
        offer.hidden = ("b",)
        self.streams.resettle(offer)
        self.assertEqual([pull.stopped for pull in fake.pulls], [False, True])

    def test_settings(self) -> None:
        fake, offer = self.kept()
        self.registry.obtain("a", self.settings)
        supply = self.registry.supply("c")
        assert isinstance(supply, OnDemand)
        changed = evolve(self.settings, segment_count=9, source_timeout=3.0, protocols=frozenset({"hls"}))
        offer.settings = changed
        offer.clients_timeout = 77.0
        self.streams.resettle(offer)
        entry = self.registry.find("a")
        assert entry is not None
        self.assertEqual((entry.settings, entry.stream.window.segment_count), (changed, 9))
        self.assertIs(self.registry.supply("c"), supply)
        self.assertEqual((supply.linger, supply.protocols), (77.0, {"hls"}))
        self.assertEqual([pull.stopped for pull in fake.pulls], [False, False])
        self.assertEqual([pull.settings for pull in fake.kept], [[changed], [changed]])

    def test_settings_are_those_of_the_first(self) -> None:
        _, first = self.kept()
        second = SourceOffer(
            "other", None, (), evolve(self.settings, segment_count=8), 10.0, FakeSource().pull
        )
        self.streams.add_source(second)
        self.streams.listed(second, listed("a"))
        self.registry.obtain("a", self.settings)
        second.settings = evolve(self.settings, segment_count=7)
        self.streams.resettle(second)
        entry = self.registry.find("a")
        assert entry is not None
        self.assertEqual(entry.settings, self.settings)
        self.streams.reorder([second, first])
        self.assertEqual(entry.settings.segment_count, 7)
