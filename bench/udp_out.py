"""What does a datagram cost to send, by itself and in company?

    python -m bench.udp_out                    # bursts of 1, 4, 16 and 40 datagrams of 1,316 bytes
    python -m bench.udp_out --size 1400

One socket sends to another on the loopback interface, which a second process empties. Compared are Twisted's
C{transport.write}, C{sendto}, C{send} of a connected socket, and one C{sendmsg} for the burst that the kernel
cuts up (UDP_SEGMENT, Linux 4.18). Microseconds of processor time per datagram, the least of the rounds: what
disturbs only adds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
_LENGTH: Final = struct.Struct("@H")
_DATAGRAMS: Final = 20_000
BURSTS: Final = (1, 4, 16, 40)

#: Sends a burst.
Way = Callable[[Sequence[bytes]], None]


def ways(sending: socket.socket, connected: socket.socket, address: tuple[str, int]) -> dict[str, Way]:
    """How a burst may be sent."""
    from twisted.internet import reactor, udp
    from twisted.internet.protocol import DatagramProtocol

    port = udp.Port(0, DatagramProtocol(), "127.0.0.1", 65_536, reactor)
    port._bindSocket()

    def by_twisted(burst: Sequence[bytes]) -> None:
        for datagram in burst:
            port.write(datagram, address)

    def by_sendto(burst: Sequence[bytes]) -> None:
        for datagram in burst:
            sending.sendto(datagram, address)

    def by_send(burst: Sequence[bytes]) -> None:
        for datagram in burst:
            connected.send(datagram)

    def in_one(burst: Sequence[bytes]) -> None:
        size = _LENGTH.pack(len(burst[0]))
        sending.sendmsg(burst, [(SOL_UDP, UDP_SEGMENT, size)], 0, address)

    return {"Twisted": by_twisted, "sendto": by_sendto, "send": by_send, "UDP_SEGMENT": in_one}


def _empty(receiving: socket.socket, counts: object) -> None:
    """Read for ever."""
    got = getattr(counts, "value")  # noqa: B009
    while True:
        receiving.recv(65_536)
        got += 1
        setattr(counts, "value", got)  # noqa: B010


def check(size: int) -> bool:
    """Whether what is sent in one comes as it was cut, sizes and bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.bind(("127.0.0.1", 0))
        receiving.settimeout(1.0)
        burst = [bytes([number]) * size for number in range(7)] + [b"last"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            cut = [(SOL_UDP, UDP_SEGMENT, _LENGTH.pack(size))]
            sending.sendmsg(burst, cut, 0, receiving.getsockname())
        return [receiving.recv(65_536) for _ in burst] == burst


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1316, help="bytes of a datagram")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiving.bind(("127.0.0.1", 0))
        counts = multiprocessing.Value("Q", 0, lock=False)
        reader = multiprocessing.Process(target=_empty, args=(receiving, counts), daemon=True)
        reader.start()
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connected.connect(receiving.getsockname())
        all_ways = ways(sending, connected, receiving.getsockname())
        print(f"cut by the kernel: {'right' if check(options.size) else 'WRONG'}")
        print(f"{'burst':>6}" + "".join(f"{name:>14}" for name in all_ways) + "   microseconds per datagram")
        for length in BURSTS:
            burst = [os.urandom(options.size) for _ in range(length)]
            best = dict.fromkeys(all_ways, float("inf"))
            for _ in range(options.rounds):
                for name, way in all_ways.items():
                    began = time.process_time()
                    for _ in range(_DATAGRAMS // length):
                        way(burst)
                    spent = time.process_time() - began
                    best[name] = min(best[name], spent / (_DATAGRAMS // length * length) * 1e6)
            print(f"{length:>6}" + "".join(f"{value:>14.2f}" for value in best.values()))
        reader.terminate()


if __name__ == "__main__":
    main()
