"""What sessions cost: bytes each, and microseconds per open, playlist, segment and close.

Run: C{python -m bench.sessions [SESSIONS]}. A backend that answers at once and one that is not asked.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc

from twisted.internet.task import Clock
from typing_extensions import override

from restreamer.config.model import AuthConfig
from restreamer.seams import Account, OpenRequest
from restreamer.sessions.answers import Answer, Backend, Question, Verdict
from restreamer.sessions.session_gate import SessionGate
from restreamer.sessions.table import SessionTable
from restreamer.viewers.gate import PasswordGate


class Yes(Backend):
    """Answers at once."""

    @override
    async def ask(self, question: Question) -> Answer:
        return Answer(verdict=Verdict.ALLOW, user_id=question.token[:12])


def request(number: int, part: bool = False) -> OpenRequest:
    """What viewer C{number} asks: strings of its own, as a parser makes them."""
    token = f"token-of-viewer-{number:016d}"
    return OpenRequest(
        name=f"channel{number % 200}",
        action="play",
        proto="hls",
        peer=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        token=token,
        query=f"token={token}",
        user_agent="Mozilla/5.0 (Linux; Android 13; TV) AppleWebKit/537.36 Chrome/120.0 Safari/537.36",
        referer="https://tv.example/watch",
        part=part,
        account=Account(),
    )


def pass_gate(gate: SessionGate, wanted: OpenRequest) -> None:
    """Ask the gate; the answer is there at once."""
    try:
        gate.open(wanted).send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def measure(count: int, auth: AuthConfig) -> None:
    """Print the figures under C{auth}."""
    clock = Clock()
    clock.advance(1000)
    numbers = iter(range(count * 2))
    table = SessionTable(
        clock,
        lambda: int(clock.seconds() * 1000),
        lambda: f"{next(numbers):032x}",
        node_id="ab" * 16,
        secret=b"x" * 32,
        max_of_address=count * 2,
    )
    backend = Yes()
    password = PasswordGate(lambda name: "")
    gate = SessionGate(table, clock, lambda name: auth, lambda name, action: backend, b"x" * 32, password)

    def timed(what: str, part: bool) -> None:
        wanted = [request(number, part) for number in range(count)]
        began = time.perf_counter()
        for each in wanted:
            pass_gate(gate, each)
            viewing = each.account.viewing if each.account is not None else None
            if viewing is not None:
                viewing.count(1000)
        took = time.perf_counter() - began
        print(f"  {what:24} {took / count * 1e6:7.2f} us")

    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(count):
        wanted = request(number)
        pass_gate(gate, wanted)
        assert wanted.account is not None and wanted.account.viewing is not None
        wanted.account.viewing.count(1000)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"  memory                   {size / count:7.0f} bytes each")
    table.stop()
    timed("open", False)
    timed("playlist", False)
    timed("segment", True)
    worst = total = 0.0
    clock.rightNow += 70
    while clock.calls:
        clock.rightNow = max(clock.rightNow, clock.calls[0].getTime())
        began = time.perf_counter()
        call = clock.calls.pop(0)
        call.called = 1
        call.func(*call.args, **call.kw)
        took = time.perf_counter() - began
        worst, total = max(worst, took), total + took
        if not len(table):
            break
    print(f"  looked at, and closed    {total / count * 1e6:7.2f} us; the longest turn {worst * 1e3:.1f} ms")


def main() -> None:
    """Measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"{count} sessions of an open stream")
    measure(count, AuthConfig())
    print(f"{count} sessions with a backend")
    measure(count, AuthConfig(on_play="http://backend/"))


if __name__ == "__main__":
    main()
