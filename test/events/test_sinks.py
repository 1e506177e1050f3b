"""Sinks: what is sent, again, dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.events.bus import EVENTS, REMEMBERED, EventBus
from restreamer.events.filters import Condition, EventFilter
from restreamer.events.service import SinkError, file_send
from restreamer.events.sinks import FULL, LONGEST_PAUSE, Sink, SinkLimits


class Place:
    """Where a sink sends: says yes, no, or nothing."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.away = False
        self.held: Deferred[None] | None = None

    async def send(self, batch: list[bytes]) -> None:
        """Take a batch."""
        if self.held is not None:
            await self.held
        if self.away:
            raise SinkError("away")
        self.batches.append([json.loads(each) for each in batch])

    @property
    def numbers(self) -> list[int]:
        """Ids of all events that came."""
        return [event["event_id"] for batch in self.batches for event in batch]


class SinkTests(SynchronousTestCase):
    """One sink on a bus."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.place = Place()
        self.bus = EventBus(lambda: int(self.clock.seconds() * 1000), "node")

    def sink(self, wanted: EventFilter | None = None, **limits: Any) -> Sink:
        """A sink that hears of everything."""
        made = Sink("s", "http://h/", self.clock, self.place.send, wanted, SinkLimits(**limits))
        self.bus.listen(made)
        return made

    def emit(self, count: int) -> None:
        """C{count} events."""
        for _ in range(count):
            self.bus.emit("stream_opened", "live")

    def test_gathered(self) -> None:
        sink = self.sink()
        self.emit(3)
        self.assertEqual(self.place.batches, [])
        self.clock.advance(0.2)
        self.assertEqual([len(batch) for batch in self.place.batches], [3])
        event = self.place.batches[0][0]
        self.assertEqual(
            event, {"event": "stream_opened", "event_id": 1, "utc_ms": 0, "server": "node", "media": "live"}
        )
        self.assertEqual((sink.facts().sent, sink.facts().waiting), (3, 0))

    def test_many_do_not_wait(self) -> None:
        self.sink()
        self.emit(FULL)
        self.clock.advance(0)
        self.assertEqual(len(self.place.numbers), FULL)

    def test_sent_again(self) -> None:
        sink = self.sink()
        self.place.away = True
        self.emit(1)
        self.clock.pump([0.2, 1, 2, 4])
        self.emit(5)
        self.assertEqual(sink.facts().last_error, "away")
        self.place.away = False
        self.clock.pump([1] * 12)
        self.assertEqual(self.place.numbers, [1, 2, 3, 4, 5, 6])
        told = sink.facts()
        self.assertEqual((told.sent, told.resent, told.dropped, told.last_error), (6, 1, 0, ""))

    def test_pauses_are_bounded(self) -> None:
        self.sink()
        self.place.away = True
        self.emit(1)
        for _ in range(200):
            (call,) = self.clock.getDelayedCalls()
            self.assertLessEqual(call.getTime() - self.clock.seconds(), LONGEST_PAUSE + 0.001)
            self.clock.advance(call.getTime() - self.clock.seconds())

    def test_given_up(self) -> None:
        sink = self.sink(resend_limit=2)
        self.place.away = True
        self.emit(2)
        self.clock.pump([0.2, 1, 2])
        self.assertEqual((sink.facts().dropped, sink.facts().waiting), (2, 0))
        self.place.away = False
        self.emit(1)
        self.clock.advance(0.2)
        self.assertEqual(self.place.numbers, [3])

    def test_a_place_that_hangs(self) -> None:
        """The queue is bounded, and the newest events are kept."""
        sink = self.sink(max_depth=10)
        self.place.held = Deferred()
        self.emit(1)
        self.clock.advance(0.2)
        self.emit(30)
        self.assertEqual((sink.facts().waiting, sink.facts().dropped), (11, 20))
        held, self.place.held = self.place.held, None
        held.callback(None)
        self.clock.pump([0.2, 0.2])
        self.assertEqual(self.place.numbers, [1, *range(22, 32)])

    def test_sizes(self) -> None:
        sink = self.sink(max_size=300)
        self.bus.emit("stream_opened", "x" * 400)
        self.emit(10)
        self.clock.pump([0.2] * 20)
        self.assertEqual(self.place.numbers, list(range(2, 12)))
        self.assertTrue(all(len(json.dumps(batch)) < 400 for batch in self.place.batches))
        self.assertEqual(sink.facts().dropped, 1)

    def test_closed(self) -> None:
        sink = self.sink()
        self.emit(2)
        self.successResultOf(sink.close())
        self.emit(1)
        self.assertEqual(self.place.numbers, [1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_while_nobody_takes(self) -> None:
        sink = self.sink(max_size=120)
        self.place.away = True
        self.emit(5)
        self.successResultOf(sink.close())
        self.assertEqual((sink.facts().dropped, self.clock.getDelayedCalls()), (5, []))

    def test_only_what_is_wanted(self) -> None:
        only = Condition("event", ("stream_*", "source_lost"))
        self.sink(EventFilter((only,), (Condition("media", ("test/*",)),)))
        self.bus.emit("stream_opened", "live")
        self.bus.emit("stream_opened", "test/a")
        self.bus.emit("play_opened", "live")
        self.bus.emit("source_lost", source="h:1")
        self.clock.advance(0.2)
        self.assertEqual(self.place.numbers, [1, 4])

    def test_lines_in_a_file(self) -> None:
        path = Path(self.mktemp())
        sink = Sink("s", "", self.clock, file_send(path, lambda call, *args: succeed(call(*args))))
        self.bus.listen(sink)
        self.emit(2)
        self.clock.advance(0.2)
        path.rename(path.with_suffix(".1"))
        self.bus.emit("stream_opened", "é\n")
        self.clock.advance(0.2)
        self.assertEqual(json.loads(path.read_text())["media"], "é\n")
        self.assertEqual(len(path.with_suffix(".1").read_text().splitlines()), 2)


class BusTests(SynchronousTestCase):
    """Who hears what."""

    def test_remembered(self) -> None:
        bus = EventBus(lambda: 0)
        for _ in range(REMEMBERED + 5):
            bus.emit("stream_opened")
        self.assertEqual(len(bus.since(0)), REMEMBERED)
        self.assertEqual(
            [each["event_id"] for each in bus.since(bus.newest - 2)], [bus.newest - 1, bus.newest]
        )

    def test_one_that_fails(self) -> None:
        """The others hear all the same."""
        bus, heard = EventBus(lambda: 0), []

        class Bad:
            def event(self, event: Any) -> None:
                raise ValueError

        class Good:
            def event(self, event: Any) -> None:
                heard.append(event["event"])

        bus.listen(Bad())
        stop = bus.listen(Good())
        bus.emit("stream_opened")
        stop()
        bus.emit("stream_closed")
        self.assertEqual(heard, ["stream_opened"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_names(self) -> None:
        for name, text in EVENTS.items():
            self.assertRegex(name, "^[a-z_]+$")
            self.assertTrue(text.endswith("."))
        with self.assertRaises(AssertionError):
            EventBus(lambda: 0).emit("unheard_of")


class DocumentTests(SynchronousTestCase):
    """docs/viewers.md."""

    def test_every_event_is_in_it(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "viewers.md").read_text("utf-8")
        for name in EVENTS:
            self.assertIn(f"| `{name}` |", page)
