"""Prints what one node's links bring of one name: C{--trace HOST:NAME}."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from restreamer.cluster.link_protocol import LinkProtocol
from restreamer.cluster.puller import Puller
from restreamer.errors import RemoteProtocolError
from restreamer.m4f.records import (
    Frames,
    Ping,
    Pull,
    PullAccepted,
    Record,
    SegmentClose,
    SegmentCopy,
    SegmentOpen,
)
from restreamer.m4f.segment import Segment
from test.simulator.content import code_of
from test.simulator.world import World

_WATCHED = ("link_up", "link_down", "activate", "stop", "has_taken", "go", "_lost", "_give_up")


def _told(world: World, record: Record) -> str:
    """A record for people; empty for one that says nothing."""
    if isinstance(record, Ping):
        return ""
    if isinstance(record, Frames):
        first, last = code_of(record.frames[0]), code_of(record.frames[-1])
        return f"frames {first[0]}:{first[1]} to {last[0]}:{last[1]}"
    if isinstance(record, SegmentCopy):
        try:
            segment = Segment.parse(record.encoded)
        except RemoteProtocolError as error:
            return f"damaged copy: {error}"
        frames = segment.frames()
        first, last = code_of(frames[0]), code_of(frames[-1])
        return (
            f"copy {segment.number} of run {record.run.run_id:016x}, "
            f"frames {first[0]}:{first[1]} to {last[0]}:{last[1]}"
        )
    if isinstance(record, SegmentOpen):
        return f"open {record.opening.number} of run {record.run.run_id:016x}"
    if isinstance(record, SegmentClose):
        return f"close {record.number}"
    if isinstance(record, PullAccepted):
        return f"accepted run {record.run.run_id:016x} by {world.hosts(record.run.path)}"
    return repr(record)[:160]


@contextmanager
def traced(world: World, host: str, name: str) -> Iterator[None]:
    """Print what pullers of C{name} at C{host} are told meanwhile."""
    labels: dict[Puller, int] = {}
    originals = {each: Puller.__dict__[each] for each in ("record", *_WATCHED) if each in Puller.__dict__}

    def label(puller: Puller) -> str:
        if puller.remote_name != name or world.ids.get(puller._node_id) != host:
            return ""
        link = puller._link
        source = world.ids.get(link.peer_id, "?") if link is not None else "no link"
        return f"{world.now:9.3f}      pull {labels.setdefault(puller, len(labels))} from {source}: "

    def record(self: Puller, record: Record) -> None:
        head = label(self)
        text = _told(world, record) if head else ""
        if text:
            print(head + text)
        originals["record"](self, record)

    def watched(method: str) -> Any:
        original = originals[method]

        @wraps(original)
        def call(self: Puller, *args: Any, **kwargs: Any) -> Any:
            head = label(self)
            if head:
                shown = ", ".join(each if isinstance(each, str) else type(each).__name__ for each in args)
                print(f"{head}-- {method}({shown})")
            return original(self, *args, **kwargs)

        return call

    sending = LinkProtocol.send

    def send(self: LinkProtocol, record: Record) -> None:
        if isinstance(record, Pull) and record.name == name and self.transport is not None:
            end: Any = self.transport
            if end.host == host:
                run = f"{record.run_id:016x}, {record.number}, {record.frame_index}"
                print(f"{world.now:9.3f}      pull asks {end.peer_host} for run {run}")
        sending(self, record)

    for method in originals:
        setattr(Puller, method, record if method == "record" else watched(method))
    LinkProtocol.send = send  # type: ignore[method-assign]
    try:
        yield
    finally:
        LinkProtocol.send = sending  # type: ignore[method-assign]
        for method, original in originals.items():
            setattr(Puller, method, original)
