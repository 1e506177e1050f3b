"""What a target of the fuzzer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

Test = Callable[[bytes], None]


@frozen
class Target:
    """@ivar load: imports the parser and gives the test. @ivar seeds: inputs that reach far into it."""

    load: Callable[[], Test]
    seeds: Callable[[], Iterator[bytes]]


def pieces(data: bytes) -> Iterator[bytes]:
    """C{data} without its first two bytes, cut into pieces of sizes that these say."""
    if len(data) < 2:
        return
    step = 1 + data[0] + (data[1] << 4)
    for at in range(2, len(data), step):
        yield data[at : at + step]


def packets(data: bytes) -> Iterator[bytes]:
    """C{data} cut where two bytes before each packet say."""
    at = 0
    while at + 2 <= len(data):
        size = data[at] << 8 | data[at + 1]
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def in_packets(each: list[bytes]) -> bytes:
    """What L{packets} takes apart."""
    return b"".join(len(packet).to_bytes(2, "big") + packet for packet in each)
