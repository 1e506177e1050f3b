"""A stream of the configuration keeps its name and its input."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.live.feed import FeedLimits
from restreamer.live.ledger import Ledger
from restreamer.live.playout import Playout
from restreamer.live.registry import Claim, StreamRegistry, StreamSettings
from restreamer.m4f.records import RunInfo
from restreamer.m4f.segment import SegmentOpening
from restreamer.media.frame import Frame
from restreamer.sources.configured_stream import ConfiguredStream, PlannedInput
from restreamer.sources.configured_streams import ConfiguredStreams
from restreamer.sources.input_slot import FIRST_REST, LONGEST_REST, InputReports
from test.live.rig import AV, D


class _Input:
    def __init__(self, reports: InputReports) -> None:
        self.failed = reports.lost
        self.delivered = reports.delivered
        self.stopped = False

    def activate(self) -> None:
        """It never stands by."""

    def stop(self) -> None:
        self.stopped = True


class _Case(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.faults: list[str] = []
        self.registry = StreamRegistry(
            self.clock,
            Ledger(),
            lambda stream: Playout(stream, self.clock, {}, FeedLimits()),
            lambda what, error: self.faults.append(f"{what}: {error!r}"),
        )
        self.inputs: list[_Input] = []

    def _stream(
        self, static: bool = True, linger: float = 5.0, timeouts: tuple[float | None, ...] = (None,)
    ) -> ConfiguredStream:
        def begin(settings: StreamSettings, reports: InputReports, standby: bool) -> _Input:
            self.inputs.append(_Input(reports))
            return self.inputs[-1]

        return ConfiguredStream(
            name="film",
            settings=StreamSettings(),
            static=static,
            linger=linger,
            inputs=tuple(PlannedInput("file://vod/a.mp4", begin, timeout) for timeout in timeouts),
            registry=self.registry,
            clock=self.clock,
            jitter=lambda low, high: high,
        )

    def _start(self, stream: ConfiguredStream) -> None:
        self.successResultOf(Deferred.fromCoroutine(stream.start()))

    @override
    def tearDown(self) -> None:
        self.assertEqual(self.faults, [])


class ConfiguredStreamTests(_Case):
    def test_static(self) -> None:
        """It starts at once, owns its name, and gives it back."""
        stream = self._stream()
        self._start(stream)
        self.assertEqual(len(self.inputs), 1)
        self.assertTrue(self.registry.claimed("film"))
        stream.stop()
        self.assertTrue(self.inputs[0].stopped)
        self.assertFalse(self.registry.claimed("film"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_name_taken(self) -> None:
        """A second owner does not start, and does not take the name away when it stops."""
        first, second = self._stream(), self._stream()
        self._start(first)
        self._start(second)
        self.assertEqual(len(self.inputs), 1)
        second.stop()
        self.assertTrue(self.registry.claimed("film"))

    def test_failures_back_off(self) -> None:
        """An input that fails is started again, later and later, up to a bound; one that ran long, soon."""
        self._start(self._stream())
        pauses = [self._fail() for _ in range(7)]
        self.assertEqual(pauses[:3], [FIRST_REST, FIRST_REST * 2, FIRST_REST * 4])
        self.assertEqual(max(pauses), LONGEST_REST)
        self.inputs[-1].delivered()
        self.clock.pump([0.5] * 240)
        self.assertEqual(self._fail(), FIRST_REST)

    def _fail(self) -> float:
        """Let the input fail; gives the seconds until it is begun again."""
        started = len(self.inputs)
        began = self.clock.seconds()
        self.inputs[-1].failed("broken")
        while len(self.inputs) == started:
            self.clock.advance(0.25)
        return self.clock.seconds() - began

    def test_stop_while_waiting(self) -> None:
        stream = self._stream()
        self._start(stream)
        self.inputs[0].failed("broken")
        stream.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_on_demand(self) -> None:
        """Started by the first request, stopped a while after the last."""
        stream = self._stream(static=False, linger=5.0)
        self._start(stream)
        self.assertEqual(self.inputs, [])
        self.assertEqual(self.registry.supplies(), ("film",))
        self.assertTrue(self.registry.want("film"))
        self.assertEqual(len(self.inputs), 1)
        self.clock.pump([1.0] * 3)
        self.registry.want("film")
        self.clock.pump([1.0] * 4)
        self.assertFalse(self.inputs[0].stopped)
        self.clock.pump([1.0] * 3)
        self.assertTrue(self.inputs[0].stopped)
        self.registry.want("film")
        self.assertEqual(len(self.inputs), 2)
        stream.stop()
        self.assertTrue(self.inputs[1].stopped)
        self.assertEqual(self.registry.supplies(), ())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent_input(self) -> None:
        """An input that gives no frame for its source_timeout is stopped; the next one follows."""
        stream = self._stream(timeouts=(10.0, 3.0))
        self._start(stream)
        self.inputs[0].delivered()
        self.clock.pump([0.5] * 19)
        self.assertFalse(self.inputs[0].stopped)
        self.clock.pump([0.5] * 2)
        self.assertTrue(self.inputs[0].stopped)
        self.assertEqual(len(self.inputs), 2)
        self.inputs[1].delivered()
        self.clock.pump([0.5] * 7)
        self.assertTrue(self.inputs[1].stopped)
        stream.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PublisherTests(_Case):
    """A stream whose name is lent to publishers."""

    def _mixed(self, passing: bool = False) -> ConfiguredStream:
        def begin(settings: StreamSettings, reports: InputReports, standby: bool) -> _Input:
            self.inputs.append(_Input(reports))
            return self.inputs[-1]

        return ConfiguredStream(
            name="film",
            settings=StreamSettings(source_timeout=20.0),
            static=True,
            linger=5.0,
            inputs=(PlannedInput("publish://", None, None), PlannedInput("m4f://other/film", begin, None)),
            registry=self.registry,
            clock=self.clock,
            jitter=lambda low, high: high,
            passing=passing,
        )

    def _publish(self) -> Claim:
        claim: Claim = self.successResultOf(Deferred.fromCoroutine(self.registry.claim("film", "publish")))
        return claim

    def test_made_anew_while_its_publisher_feeds(self) -> None:
        """A reload makes the stream anew: its publisher goes on, and no other input is asked."""
        streams = ConfiguredStreams(self.registry, lambda name: None)
        self._publish()
        stream = self.registry.obtain("film", StreamSettings())
        writer = stream.begin_run(RunInfo(1, 0, b"n" * 16, (b"n" * 16,)), D, local=True)
        writer.open(SegmentOpening(1, D, False, True, 0, AV))
        writer.frames([Frame(1, D, 0, True, b"x")])
        made = self._mixed()
        streams.add(made)
        self._start(made)
        self.assertEqual(made.feeding, "publish://")
        self.clock.advance(1.0)
        self.assertEqual(self.inputs, [])
        streams.close()

    def test_a_publisher_that_never_fed(self) -> None:
        """What it made of a template goes after it, though there never was a stream."""
        streams = ConfiguredStreams(self.registry, lambda name: self._mixed(passing=True))
        claim = self._publish()
        self.assertIsNotNone(streams.get("film"))
        self.registry.release(claim)
        self.clock.advance(21.0)
        self.assertIsNone(streams.get("film"))
        self.assertTrue(all(each.stopped for each in self.inputs))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        streams.close()
