"""How soon has a viewer its first complete keyframe: of a stream that runs, and of one on demand behind two
hops.

From before connect until the second picture begins in what was received, so the first, a keyframe, is
complete. nginx-rtmp begins at any picture and has the wait for a keyframe on top; what is told is its first
complete picture.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from typing import Final

from bench.dialogues import open_rtsp
from bench.fleet import Fleet
from bench.machine import median
from bench.publish import STAMP, STAMP_SIZE
from bench.scenario import Aim, Bench
from bench.servers import nginx_rtmp, node
from test.e2e.nodes import free_ports, get, wait_until
from test.e2e.rtmp_wire import HANDSHAKE, command, connect_bytes, hello, play_bytes
from test.e2e.samples import MEGABIT

NAME: Final = "start"
TITLE: Final = "Start of a viewer"
BUDGET: Final = 240.0

_BODY: Final = "template live { prefix live; input publish://; }"
_TRIALS: Final = 12
_COLD_TRIALS: Final = 4
_NAMES: Final = {"rtmp": "RTMP", "flv": "HTTP-FLV", "tshttp": "HTTP-TS", "rtsp": "RTSP (TCP)"}
_PATHS: Final = {"flv": "live.flv", "tshttp": "mpegts"}


def start_ms(proto: str, port: int, name: str) -> float:
    """Milliseconds until the first picture of C{name} is complete.

    @raise OSError: it did not come.
    """
    began = time.monotonic()
    with socket.socket() as sock:
        sock.settimeout(15.0)
        sock.connect(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(sock, proto, port, name)
        tail, pictures = b"", 0
        while pictures < 2:
            data = sock.recv(1 << 18)
            if not data:
                raise ConnectionResetError(f"{proto} {name}: closed")
            tail += data
            found = list(STAMP.finditer(tail))
            pictures += len(found)
            tail = tail[found[-1].end() :] if found else tail[-STAMP_SIZE:]
    return (time.monotonic() - began) * 1000


def ask(sock: socket.socket, proto: str, port: int, name: str) -> None:
    """Say what a player says."""
    if proto == "rtsp":
        open_rtsp(sock, port, name)
        return
    if proto in _PATHS:
        sock.sendall(f"GET /{name}/{_PATHS[proto]} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        return
    app, _, key = name.rpartition("/")
    sock.sendall(hello())
    reply = _until(sock, size=1 + 2 * HANDSHAKE)
    sock.sendall(reply[1 : 1 + HANDSHAKE] + connect_bytes(app, f"rtmp://127.0.0.1:{port}/{app}"))
    _until(sock, word=b"_result")
    sock.sendall(command("createStream", 2, None))
    _until(sock, word=b"_result")
    sock.sendall(play_bytes(key))


def _until(sock: socket.socket, size: int = 0, word: bytes = b"") -> bytes:
    data = bytearray()
    while len(data) < size or word not in data:
        piece = sock.recv(65_536)
        if not piece:
            raise ConnectionResetError("closed during the dialogue")
        data += piece
    return bytes(data)


def warm(bench: Bench, proto: str, port: int) -> list[float]:
    """Viewers at moments that have nothing to do with keyframes."""
    found = []
    for _ in range(_TRIALS):
        found.append(start_ms(proto, port, "live/cam"))
        time.sleep(0.2 * random.random())
    return found


def cold(bench: Bench) -> None:
    """A stream on demand: the edge asks a node between, that asks the origin where it is published."""
    bench.need(30)
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(node(bench.core, _BODY, name="origin"))
        middle = stack.enter_context(node(bench.others[0], _ondemand(origin.http, "live/cam"), name="middle"))
        edge = stack.enter_context(node(bench.others[-1], _ondemand(middle.http, "cold/cam"), name="edge"))
        stack.enter_context(Fleet([origin.rtmp], ["live/cam"], MEGABIT, stamps=True, cores=bench.others))
        time.sleep(2.5)
        found = []
        for _ in range(_COLD_TRIALS):
            wait_until(lambda: not (_runs(middle.http) or _runs(edge.http)), 30.0, "the stream is asleep")
            time.sleep(0.3 * random.random())
            found.append(start_ms("tshttp", edge.http, "cold/cam"))
        what = "on demand, cold, through two hops, HTTP-TS"
        bench.row("cold-first", f"{what}: the first of these nodes", "ms", Aim(120.0)).add(found[0])
        row = bench.row("cold", f"{what}: later ones", "ms", Aim(120.0))
        row.add(median(found[1:]))
        row.note(f"worst {max(found[1:]):.0f} ms of {len(found) - 1}")
        bench.say(f"cold: {' '.join(f'{value:.1f}' for value in found)} ms")


def _ondemand(port: int, name: str) -> str:
    return f"stream cold/cam {{ input m4f://127.0.0.1:{port}/{name}; static false; clients_timeout 1; }}"


def _runs(port: int) -> bool:
    """Whether the stream on demand runs there."""
    streams = get(port, "/streamer/api/v3/streams").json()["streams"]
    return any(each.get("stats", {}).get("alive") for each in streams if each["name"] == "cold/cam")


def run(bench: Bench) -> None:
    """One repeat."""
    bench.need(40)
    (rtsp,) = free_ports(1)
    with (
        nginx_rtmp(bench.core) as nginx,
        Fleet([nginx.rtmp], ["live/cam"], MEGABIT, stamps=True, cores=bench.others),
    ):
        time.sleep(2.5)
        theirs = median(warm(bench, "rtmp", nginx.rtmp))
    with (
        node(bench.core, f"rtsp 127.0.0.1:{rtsp};\n{_BODY}") as ours,
        Fleet([ours.rtmp], ["live/cam"], MEGABIT, stamps=True, cores=bench.others),
    ):
        time.sleep(2.5)
        ports = {"rtmp": ours.rtmp, "flv": ours.http, "tshttp": ours.http, "rtsp": rtsp}
        for proto, port in ports.items():
            found = warm(bench, proto, port)
            aim = None if proto == "rtsp" else Aim(10.0)
            row = bench.row(
                f"warm-{proto}", f"warm, {_NAMES[proto]}: median of {_TRIALS}", "ms", aim, "nginx-rtmp"
            )
            row.add(median(found), theirs)
            row.note(f"worst {max(found):.0f} ms")
            bench.say(
                f"warm {proto}: median {median(found):.2f} worst {max(found):.1f} ms; nginx-rtmp {theirs:.0f}"
            )
    cold(bench)
