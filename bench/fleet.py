"""Many publishers of the same film in one process: each message is built once and sent to all, spread over a
picture's time.

The process tells how late it was at most, so that a slow publisher is not taken for a slow server.
"""

from __future__ import annotations

import gc
import heapq
import multiprocessing
import multiprocessing.connection
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence

from attrs import define

from bench.publish import stamped
from test.e2e.rtmp_wire import AUDIO, DATA, VIDEO, Tag, WireClient, amf0, looped, message, read_flv
from test.e2e.samples import Sample, make

_CHUNK_STREAMS = {AUDIO: 4, VIDEO: 6, DATA: 5}


def wire(tag: Tag) -> bytes:
    """A tag as RTMP chunks."""
    body = tag.body
    if tag.kind == DATA and not body.startswith(b"\x02\x00\x0d@setDataFrame"):
        body = amf0("@setDataFrame") + body
    return message(tag.kind, body, tag.timestamp, 1, _CHUNK_STREAMS[tag.kind])


@define
class _Messages:
    """The tags of a film for ever, as messages; those nobody needs any more are let go."""

    tags: Iterator[Tag]
    kept: deque[tuple[Tag, bytes]]
    first: int = 0

    def at(self, number: int) -> tuple[Tag, bytes]:
        while number >= self.first + len(self.kept):
            tag = next(self.tags)
            self.kept.append((tag, wire(tag)))
            if len(self.kept) > 1000:
                self.kept.popleft()
                self.first += 1
        return self.kept[number - self.first]


def _work(
    ports: Sequence[int],
    names: Sequence[str],
    sample: Sample,
    stamps: bool,
    cores: Sequence[int],
    pipe: multiprocessing.connection.Connection,
) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    gc.disable()
    messages = _Messages(looped(read_flv(make(sample))), deque())
    clients = []
    for port in ports:
        for name in names:
            app, _, key = name.rpartition("/")
            client = WireClient.connect(port, app, 20.0)
            client.publish(key)
            clients.append(client)
    pipe.send("on")
    began = time.monotonic()
    due = [(began + index / len(clients) / sample.rate, index, 0) for index in range(len(clients))]
    shift = [at for at, _, _ in due]
    heapq.heapify(due)
    late = 0.0
    sends = 0
    sent: deque[tuple[float, bool]] = deque(maxlen=4000)
    while due:
        at, index, number = due[0]
        wait = at - time.monotonic()
        if wait > 0:
            if pipe.poll(0):
                word = pipe.recv()
                if word == "end":
                    break
                pipe.send((late, list(sent)))
                late = 0.0
                continue
            time.sleep(min(wait, 0.1))
            continue
        late = max(late, -wait)
        tag, data = messages.at(number)
        client = clients[index]
        try:
            client.sock.sendall(wire(stamped(tag)) if stamps else data)
        except OSError:
            heapq.heappop(due)
            continue
        sent.append((time.monotonic(), tag.is_keyframe))
        sends += 1
        if sends % 50 == 0 and client.drain() < 0:
            heapq.heappop(due)
            continue
        following, _ = messages.at(number + 1)
        heapq.heapreplace(due, (shift[index] + following.timestamp / 1000, index, number + 1))


class Fleet:
    """The publishers; use as a context manager.

    @param ports: servers; each of them gets every one of C{names}. @param stamps: each picture carries the
        moment it was sent.
    """

    def __init__(
        self,
        ports: Sequence[int],
        names: Sequence[str],
        sample: Sample,
        *,
        stamps: bool = False,
        cores: Sequence[int] = (),
    ) -> None:
        make(sample)
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=_work, args=(ports, names, sample, stamps, cores, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def told(self) -> tuple[float, list[tuple[float, bool]]]:
        """Seconds it was late at most since it was asked last; (time, whether a keyframe) of the newest
        sends.
        """
        self.pipe.send("told")
        late, sent = self.pipe.recv()
        return late, sent

    def close(self) -> None:
        """Hang up."""
        try:
            self.pipe.send("end")
        except OSError:
            pass
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
