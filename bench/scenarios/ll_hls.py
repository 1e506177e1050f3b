"""Thousands of players of low-latency HLS that wait for the same part: when has the last of them its answer?

Each holds a blocking playlist request (_HLS_msn, _HLS_part) for a part that does not exist yet. Counted from
the publisher's send that completed the part: the newest one before the first answer came.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import re
import select
import socket
import time
from collections.abc import Sequence
from typing import Final

from bench.fleet import Fleet
from bench.machine import median, quantile
from bench.scenario import Aim, Bench
from bench.servers import node
from test.e2e.nodes import get, wait_until
from test.e2e.samples import MEGABIT

NAME: Final = "ll_hls"
TITLE: Final = "Low-latency HLS"
BUDGET: Final = 120.0

_BODY: Final = "template live { prefix live; input publish://; segment_duration 2; chunk_duration 200; }"
_PLAYERS: Final = 5000
_ROUNDS: Final = 4
_PLAYLIST: Final = "/live/cam/tracks-v1/mono.ll.m3u8"
_SEQUENCE: Final = re.compile(r"#EXT-X-MEDIA-SEQUENCE:(\d+)")


def _work(port: int, count: int, cores: Sequence[int], pipe: multiprocessing.connection.Connection) -> None:
    """Players of one process: on (msn, part) all ask for it; the times of their answers go back."""
    if cores:
        os.sched_setaffinity(0, cores)
    poll = select.epoll()
    socks = {}
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), 10.0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
    pipe.send("on")
    while (asked := pipe.recv()) is not None:
        msn, part = asked
        request = (
            f"GET {_PLAYLIST}?_HLS_msn={msn}&_HLS_part={part} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        ).encode()
        for sock in socks.values():
            sock.sendall(request)
        asked_at = time.monotonic()
        times: list[float] = []
        wrong = 0
        until = asked_at + 6.0
        while len(times) < len(socks) and time.monotonic() < until:
            for fd, _ in poll.poll(0.1):
                data = socks[fd].recv(65_536)
                times.append(time.monotonic())
                wrong += not data.startswith(b"HTTP/1.1 200")
        pipe.send((asked_at, times, wrong))


def next_part(port: int) -> tuple[int, int]:
    """(media sequence number, part) some parts ahead, within the segment after the one being written."""
    text = get(port, _PLAYLIST).body.decode()
    found = _SEQUENCE.search(text)
    first = int(found[1]) if found else 0
    whole = sum(1 for line in text.splitlines() if line.startswith("#EXTINF"))
    return first + whole + 1, 2


def run(bench: Bench) -> None:
    """One repeat."""
    bench.need(30)
    with (
        node(bench.core, _BODY) as ours,
        Fleet([ours.rtmp], ["live/cam"], MEGABIT, cores=bench.others[:1]) as fleet,
    ):
        wait_until(lambda: b"#EXTINF" in get(ours.http, _PLAYLIST).body, 20.0, "a playlist with parts")
        pipes = []
        processes = []
        where = bench.others
        for index in range(len(where)):
            mine, theirs = multiprocessing.Pipe()
            share = _PLAYERS // len(where) + (index < _PLAYERS % len(where))
            process = multiprocessing.Process(
                target=_work, args=(ours.http, share, (where[index],), theirs), daemon=True
            )
            process.start()
            processes.append(process)
            pipes.append(mine)
        for pipe in pipes:
            pipe.recv()
        lasts, halves = [], []
        for _ in range(_ROUNDS):
            wanted = next_part(ours.http)
            for pipe in pipes:
                pipe.send(wanted)
            answers = [pipe.recv() for pipe in pipes]
            times = sorted(when for _, each, _ in answers for when in each)
            asked = max(at for at, _, _ in answers)
            wrong = sum(each for _, _, each in answers)
            _, sent = fleet.told()
            early = sum(1 for when in times if when < asked)
            if len(times) < _PLAYERS or early or wrong:
                bench.say(f"{len(times)} answers, {early} before the last had asked, {wrong} not 200")
            if not times or early > _PLAYERS // 100:
                continue
            part_at = max((at for at, _ in sent if at <= times[early]), default=times[early])
            lasts.append((times[-1] - part_at) * 1000 if len(times) == _PLAYERS else 6000.0)
            halves.append((quantile(times, 0.5) - part_at) * 1000)
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(5)
    if not lasts:
        return
    row = bench.row(
        "ll-hls", f"{_PLAYERS:,} players wait for the same part: the last has it after", "ms", Aim(50.0)
    )
    row.add(median(lasts))
    row.note(f"half of them after {median(halves):.0f} ms")
    row.note(f"worst {max(lasts):.0f} ms of {len(lasts)} parts")
    bench.say(
        f"last after {' '.join(f'{value:.0f}' for value in lasts)} ms, half after {median(halves):.0f} ms"
    )
