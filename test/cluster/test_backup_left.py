"""A stream leaves its backup when what should feed it is back, however it was away."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from restreamer.cluster.source_service import MediaPull
from restreamer.live.registry import StreamSettings
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.sources.configured_stream import ConfiguredStream, PlannedBackup, PlannedInput
from restreamer.sources.configured_streams import ConfiguredStreams
from restreamer.sources.input_slot import BackupRule, InputReports, RunningInput
from restreamer.testing.cluster_rig import TRACKS, Publisher
from restreamer.testing.media import make_frames
from test.cluster.neighbours import Neighbour
from test.cluster.test_rig import RigCase


class Showing:
    """The backup: a publisher of the rig that says when its frames have taken the stream."""

    def __init__(self, node: Neighbour, name: str, reports: InputReports) -> None:
        ingest = node._makers.ingest(
            name, node.settings, lambda reason: None, began=reports.delivered, backup=True
        )
        ingest.configure(TRACKS)
        other = [evolve(frame, data=frame.data + b"other") for frame in make_frames(10, start=0)]
        self.publisher = Publisher(ingest, node.clock, other, 10 * TICKS_PER_SECOND)
        node._rig.publishers.append(self.publisher)

    def activate(self) -> None:
        """It never stands by."""

    def stop(self) -> None:
        self.publisher.leave()


class LeavingTests(RigCase):
    def stream(self, node: Neighbour, name: str, planned: PlannedInput) -> ConfiguredStream:
        def begin(settings: StreamSettings, reports: InputReports, standby: bool) -> RunningInput:
            return Showing(node, name, reports)

        made = ConfiguredStream(
            name=name,
            settings=node.settings,
            static=True,
            linger=5.0,
            inputs=(planned,),
            registry=node.registry,
            clock=node.clock,
            jitter=lambda low, high: high,
            backup=PlannedBackup("vod/wait.mp4", begin, BackupRule(2.0)),
        )
        streams = ConfiguredStreams(node.registry, lambda name: None)
        node.publishing.fed = streams.fed
        streams.add(made)
        made.begin()
        self.addCleanup(streams.close)
        return made

    def returned(self, made: ConfiguredStream, node: Neighbour, name: str) -> None:
        """The stream shows its input again, and goes on."""
        self.assertNotEqual(made.feeding, "vod/wait.mp4")
        stream = node.stream(name)
        assert stream is not None
        self.assertFalse(stream.backup)
        frames = stream.traffic.frames_in
        self.rig.run(1)
        self.assertGreater(stream.traffic.frames_in, frames + 20)

    def pulled(self) -> tuple[Neighbour, Neighbour, ConfiguredStream]:
        origin, edge = Neighbour(self.rig, "origin"), Neighbour(self.rig, "edge")

        def begin(settings: StreamSettings, reports: InputReports, standby: bool) -> Any:
            remote = edge.remote_node("origin")
            return MediaPull(edge.link_node(), remote, edge.registry, "x", "x", settings, reports, standby)

        made = self.stream(edge, "x", PlannedInput("m4f://origin/x", begin, None, linked=True))
        return origin, edge, made

    def test_the_publisher_of_an_m4f_input_returns(self) -> None:
        """The link to the origin stays all the time."""
        origin, edge, made = self.pulled()
        publisher = origin.publish("x")
        self.rig.run(4)
        self.assertEqual(made.feeding, "m4f://origin/x")
        publisher.leave()
        self.rig.run(8)
        self.assertEqual(made.feeding, "vod/wait.mp4")
        origin.publish("x")
        self.rig.run(12)
        self.returned(made, edge, "x")
        made.stop()

    def test_an_m4f_input_is_silent_for_a_while(self) -> None:
        origin, edge, made = self.pulled()
        publisher = origin.publish("x")
        self.rig.run(4)
        self.rig.publishers.remove(publisher)
        self.rig.run(8)
        self.assertEqual(made.feeding, "vod/wait.mp4")
        self.rig.publishers.append(publisher)
        self.rig.run(12)
        self.returned(made, edge, "x")
        made.stop()

    def pushed(self) -> tuple[Neighbour, Neighbour, ConfiguredStream]:
        origin, edge = Neighbour(self.rig, "origin"), Neighbour(self.rig, "edge")
        made = self.stream(edge, "live/x", PlannedInput("publish://", None, None))
        origin.push("x", "edge", "live/x")
        return origin, edge, made

    def test_the_publisher_of_a_pusher_returns(self) -> None:
        origin, edge, made = self.pushed()
        publisher = origin.publish("x")
        self.rig.run(4)
        self.assertEqual(made.feeding, "publish://")
        publisher.leave()
        self.rig.run(4)
        self.assertEqual(made.feeding, "vod/wait.mp4")
        origin.publish("x")
        self.rig.run(12)
        self.returned(made, edge, "live/x")
        made.stop()

    def test_a_pusher_is_silent_for_a_while(self) -> None:
        origin, edge, made = self.pushed()
        publisher = origin.publish("x")
        self.rig.run(4)
        self.rig.publishers.remove(publisher)
        self.rig.run(6)
        self.assertEqual(made.feeding, "vod/wait.mp4")
        self.rig.publishers.append(publisher)
        self.rig.run(12)
        self.returned(made, edge, "live/x")
        made.stop()
