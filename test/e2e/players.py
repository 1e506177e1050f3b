"""Players as their users run them, and what they saw: packets with times and digests, decoder complaints,
bytes."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from test.e2e.nodes import wait_until
from test.e2e.samples import FFMPEG, FFPROBE

_MICRO = 1_000_000
#: Ticks of 90 kHz.
MILLISECOND = 90


@frozen(kw_only=True)
class Packet:
    """One packet of an elementary stream as ffprobe tells it.

    @ivar kind: C{"video"} or C{"audio"}. @ivar pts, dts: in units of the container's clock. @ivar digest: of
        its bytes.
    """

    kind: str
    pts: int
    dts: int
    key: bool
    size: int
    digest: str


def probe_packets(
    url: str, seconds: float = 0.0, *, timeout: float = 30.0, extra: Sequence[str] = ()
) -> list[Packet]:
    """Packets of C{url} (a file or a stream), up to C{seconds} of stream time, 0 for all there are.

    @raise AssertionError: ffprobe failed or complained.
    """
    command = [FFPROBE or "ffprobe", "-v", "error"]
    if url.startswith(("rtmp:", "http:")):
        command += ["-rw_timeout", str(10 * _MICRO)]
    if seconds:
        command += ["-read_intervals", f"%+{seconds}"]
    fields = "packet=codec_type,pts,dts,flags,size,data_hash"
    command += [
        *extra,
        "-show_packets",
        "-show_data_hash",
        "md5",
        "-show_entries",
        fields,
        "-of",
        "json",
        url,
    ]
    done = subprocess.run(command, capture_output=True, timeout=timeout)
    complaint = done.stderr.decode(errors="replace")
    if done.returncode or complaint:
        raise AssertionError(f"ffprobe of {url} ended with {done.returncode}: {complaint[:2000]}")
    return [packet_of(entry) for entry in json.loads(done.stdout).get("packets", [])]


def packet_of(entry: dict[str, Any]) -> Packet:
    """A packet from ffprobe's JSON."""
    pts = int(entry.get("pts", entry.get("dts", 0)))
    return Packet(
        kind=entry["codec_type"],
        pts=pts,
        dts=int(entry.get("dts", pts)),
        key="K" in entry["flags"],
        size=int(entry["size"]),
        digest=entry["data_hash"],
    )


def assert_unbroken(packets: Sequence[Packet]) -> None:
    """Fail when a picture is missing from MPEG-TS C{packets} of 25 frames/s.

    Where the sample begins again its tracks are not equally long: that step may be longer, not by a picture.
    """
    times = [packet.dts for packet in packets if packet.kind == "video"]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    odd = [step for step in steps if abs(step - 3600) > MILLISECOND]
    if not steps or len(odd) > 1 + len(steps) // 400 or any(not 3600 < step < 5400 for step in odd):
        raise AssertionError(f"frames are missing: {len(steps)} steps, some of {odd[:10]} ticks and not 3600")


@frozen(kw_only=True)
class Decoded:
    """What a decoder made of a stream.

    @ivar frames: pictures decoded (0 without video). @ivar complaints: everything it wrote at error level.
    """

    frames: int
    complaints: str
    code: int


def decode(url: str, seconds: float = 3.0, *, timeout: float = 30.0, extra: Sequence[str] = ()) -> Decoded:
    """Decode C{seconds} of stream time of C{url} (0: all) with ffmpeg and throw the pictures away.

    @param extra: options before the input.
    """
    command = [FFMPEG or "ffmpeg", "-v", "error", "-nostats", "-nostdin", "-progress", "-", *extra]
    if url.startswith(("rtmp:", "http:")):
        command += ["-rw_timeout", str(10 * _MICRO)]
    command += ["-i", url, *(["-t", str(seconds)] if seconds else [])]
    # Times as they come: no frame is repeated, dropped or moved onto a grid.
    command += ["-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, timeout=timeout)
    frames = re.findall(rb"^frame=\s*(\d+)", done.stdout, re.MULTILINE)
    return Decoded(
        frames=int(frames[-1]) if frames else 0,
        complaints=done.stderr.decode(errors="replace"),
        code=done.returncode,
    )


def frame_digests(path: Path, kind: str) -> list[str]:
    """Digests of the elementary stream's packets in a recorded file, in a form all containers agree on.

    H.264 is brought to Annex B without parameter sets and delimiters, AAC to raw frames.
    @param kind: C{"v"} or C{"a"}.
    """
    # 7-9: parameter sets and the access unit delimiter, which containers carry in different places.
    bsf = "h264_mp4toannexb,filter_units=remove_types=7-9" if kind == "v" else "null"
    command = [FFMPEG or "ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-map", f"0:{kind}"]
    if kind == "a" and path.suffix == ".ts":
        bsf = "aac_adtstoasc"
    command += ["-c", "copy", "-bsf", bsf, "-f", "framehash", "-hash", "md5", "-"]
    done = subprocess.run(command, capture_output=True, timeout=30)
    if done.returncode:
        raise AssertionError(f"ffmpeg could not read {path}: {done.stderr.decode(errors='replace')[:2000]}")
    lines = [line for line in done.stdout.decode().splitlines() if line and not line.startswith("#")]
    # stream, dts, pts, duration, size, hash, then digests of side data if there is any
    return [line.split(",")[5].strip() for line in lines]


class HttpStream:
    """An endless HTTP answer, read piece by piece."""

    def __init__(self, port: int, path: str, *, timeout: float = 10.0, rcvbuf: int = 0) -> None:
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: e2e\r\n\r\n".encode()
        )
        head = bytearray()
        while b"\r\n\r\n" not in head:
            piece = self.sock.recv(65_536)
            if not piece:
                raise http.client.RemoteDisconnected(f"closed after {len(head)} bytes of head")
            head += piece
        text, _, rest = bytes(head).partition(b"\r\n\r\n")
        self.head = text.decode("latin-1")
        self.status = int(self.head.split(" ", 2)[1])
        self.rest = rest

    def read(self, size: int = 65_536) -> bytes:
        """The next piece, empty at the end."""
        if self.rest:
            piece, self.rest = self.rest, b""
            return piece
        return self.sock.recv(size)

    def read_for(self, seconds: float) -> bytes:
        """What comes within C{seconds}, or until the end."""
        data = bytearray()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            piece = self.read()
            if not piece:
                break
            data += piece
        return bytes(data)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def record_ts(port: int, stream: str, seconds: float, path: Path) -> Path:
    """Write what C{stream} sends as HTTP MPEG-TS within C{seconds} to C{path}, whole packets only."""
    with HttpStream(port, f"/{stream}/mpegts") as http_stream:
        if http_stream.status != 200:
            raise AssertionError(f"{stream}/mpegts answered {http_stream.head!r}")
        data = http_stream.read_for(seconds)
    path.write_bytes(data[: len(data) - len(data) % 188])
    return path


def record_rtmp(url: str, seconds: float, path: Path) -> Path:
    """Write C{seconds} of stream time played from C{url} to C{path} as FLV."""
    command = [
        FFMPEG or "ffmpeg",
        "-v",
        "error",
        "-nostdin",
        "-y",
        "-rw_timeout",
        str(10 * _MICRO),
        "-i",
        url,
    ]
    command += ["-t", str(seconds), "-c", "copy", "-copyts", "-f", "flv", str(path)]
    done = subprocess.run(command, capture_output=True, timeout=seconds + 20)
    complaint = done.stderr.decode(errors="replace").replace("Failed to update header", "")
    if done.returncode:
        raise AssertionError(f"ffmpeg could not play {url}: {complaint[:2000]}")
    return path


def first_media(port: int, stream: str, seconds: float) -> float:
    """Ask for HTTP MPEG-TS until media comes; the moment (C{time.monotonic()}) of its first packet."""

    def attempt() -> float | None:
        with HttpStream(port, f"/{stream}/mpegts", timeout=seconds) as http_stream:
            if http_stream.status == 200 and http_stream.read():
                return time.monotonic()
        return None

    return wait_until(attempt, seconds, f"{stream} plays over HTTP")
