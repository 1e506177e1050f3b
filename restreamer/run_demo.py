"""An origin and an edge on this machine, to look at: C{python -m restreamer.run_demo}, or C{make run}.

Both are ordinary nodes run as separate processes from the two configurations in C{conf/}; this module starts
them, waits until the edge plays, says where to look, and ends them.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from attrs import define, field

from restreamer.config.load import load
from restreamer.errors import ConfigError, RestreamerError

STREAM = "demo"
#: Seconds until the edge must play, and seconds a node has to stop.
START_LIMIT = 60.0
STOP_LIMIT = 10.0

_ROOT = Path(__file__).resolve().parent.parent
_BODY_LIMIT = 1 << 24
_TAIL_LINES = 15
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Set when it is to stop. (A handler that raised could leave a lock of C{subprocess} held for ever.)
_stopping = threading.Event()


class DemoError(RestreamerError):
    """The demo cannot run; the text says why and what to do."""


@define(kw_only=True)
class Node:
    """One of the two nodes.

    @ivar role: C{origin} or C{edge}. @ivar http, rtmp, rtsp: its first ports.
    @ivar log: where its output goes.
    """

    role: str
    config: Path
    http: int
    rtmp: int
    rtsp: int
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, path: str) -> str:
        """A URL of this node."""
        return f"http://127.0.0.1:{self.http}/{path}"

    def start(self) -> None:
        """Run the node, in a session of its own so that Ctrl-C reaches only us."""
        command = [
            sys.executable,
            "-m",
            "twisted",
            "--log-format=text",
            "restreamer",
            "--config",
            str(self.config),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Check that it still runs.

        @raise DemoError: it does not.
        """
        if self.process is not None and self.process.poll() is not None:
            status = self.process.returncode
            raise DemoError(f"the {self.role} ended with status {status}.\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its log, under its name."""
        lines = self.log.read_text("utf-8", "replace").splitlines() if self.log.exists() else []
        return "\n    ".join([f"The end of {self.log}:", *lines[-_TAIL_LINES:]])

    def stop(self) -> None:
        """Ask it to end, and make it."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_node(role: str, config: Path, logs: Path) -> Node:
    """A node as its configuration file describes it.

    @raise DemoError: the file cannot be used, or has no http, rtmp or rtsp port.
    """
    try:
        configuration = load(str(config)).configuration
    except ConfigError as error:
        raise DemoError(str(error)) from error
    ports = {}
    for word in ("http", "rtmp", "rtsp"):
        listeners = getattr(configuration, word)
        if not listeners:
            raise DemoError(f"{config} has no {word} port")
        ports[word] = listeners[0].port
    return Node(role=role, config=config, **ports, log=logs / f"demo-{role}.log")


def check_ports(nodes: Sequence[Node]) -> None:
    """Check that nobody else has the ports.

    @raise DemoError: a port is in use, or may not be used.
    """
    for node in nodes:
        for word, port in (("http", node.http), ("rtmp", node.rtmp), ("rtsp", node.rtsp)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("0.0.0.0", port))
                except OSError as error:
                    raise DemoError(
                        f"port {port} ({word} of the {node.role}) cannot be used: {error.strerror}.\n"
                        f"Stop the program that has it (ss -ltnp 'sport = :{port}' shows it), "
                        f"or write another port in {node.config}."
                    ) from error


def fetch(url: str) -> bytes:
    """The body of C{url}, empty when it is not there (yet)."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as reply:
            return bytes(reply.read(_BODY_LIMIT)) if reply.status == 200 else b""
    except (OSError, urllib.error.URLError, ValueError):
        return b""


def plays(playlist: str, get: Callable[[str], bytes] = fetch) -> bool:
    """Whether an HLS playlist (or the first one it lists) has a segment that can be had."""
    for _ in range(2):
        lines = get(playlist).decode("utf-8", "replace").splitlines()
        if not lines or lines[0] != "#EXTM3U":
            return False
        first = next((line for line in lines if line and not line.startswith("#")), "")
        if not first:
            return False
        if not any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
            return bool(get(urllib.parse.urljoin(playlist, first)))
        playlist = urllib.parse.urljoin(playlist, first)
    return False


def wait_until_playing(nodes: Sequence[Node], limit: float = START_LIMIT) -> None:
    """Wait until every node serves a segment of the demo stream, or it is to stop.

    @raise DemoError: a node ended, or C{limit} seconds went by.
    """
    deadline = time.monotonic() + limit
    for node in nodes:
        while not plays(node.url(f"{STREAM}/index.m3u8")):
            for each in nodes:
                each.check()
            if time.monotonic() > deadline:
                raise DemoError(f"the {node.role} does not play after {limit:.0f} s.\n{node.tail()}")
            if _stopping.wait(0.2):
                return


def describe(origin: Node, edge: Node) -> str:
    """What there is to see."""
    files = (
        ("HLS", "index.m3u8"),
        ("LL-HLS", "index.ll.m3u8"),
        ("DASH", "index.mpd"),
        ("MPEG-TS", "mpegts"),
        ("FLV", "live.flv"),
    )
    rows = [f"  {title:8} {edge.url(f'{STREAM}/{file}')}" for title, file in files]
    rows.append(f"  RTMP     rtmp://127.0.0.1:{edge.rtmp}/static/{STREAM}")
    rows.append(f"  RTSP     rtsp://127.0.0.1:{edge.rtsp}/{STREAM}")
    return f"""
An origin and an edge are running. The edge takes each stream from the origin once and serves the same bytes.

Open in a browser:  {edge.url(f"{STREAM}/embed.html")}
Status pages:       {origin.url("")}  and  {edge.url("")}

The demo stream at the edge; the origin has the same with its own ports
({origin.http}, RTMP {origin.rtmp}, RTSP {origin.rtsp}):
{chr(10).join(rows)}

Your own stream, from OBS: Settings, Stream, Service "Custom...",
  Server      rtmp://127.0.0.1:{origin.rtmp}/live
  Stream Key  studio     (any name of letters, digits, . _ -)
and see it on the edge:  {edge.url("live/studio/embed.html")}

From another machine write this machine's address in place of 127.0.0.1.
Logs: {origin.log}
      {edge.log}
Ctrl-C stops both."""


def watch(nodes: Sequence[Node]) -> None:
    """Wait until it is to stop.

    @raise DemoError: a node ended by itself.
    """
    while not _stopping.wait(0.5):
        for node in nodes:
            node.check()


def _interrupt(number: int, frame: FrameType | None) -> None:
    _stopping.set()


def run(origin_config: Path, edge_config: Path, logs: Path, once: bool = False) -> int:
    """Run the demo.

    @param logs: folder for the logs, made when it is missing.
    @param once: end as soon as both play.
    @return: the exit status.
    """
    nodes: list[Node] = []
    try:
        logs.mkdir(parents=True, exist_ok=True)
        nodes = [read_node("origin", origin_config, logs), read_node("edge", edge_config, logs)]
        check_ports(nodes)
        print("starting an origin and an edge ...", flush=True)
        for node in nodes:
            node.start()
        wait_until_playing(nodes)
        if not _stopping.is_set():
            print(describe(*nodes), flush=True)
        if not once:
            watch(nodes)
        if _stopping.is_set():
            print("\nstopping ...", flush=True)
    except DemoError as error:
        print(f"The demo failed: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        # The edge first, so that it does not report its origin as lost.
        for node in reversed(nodes):
            node.stop()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    @param argv: arguments without the program's name; the process's when None.
    @return: the exit status: 0 after Ctrl-C, 1 when the demo could not run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m restreamer.run_demo", description="Run an origin and an edge."
    )
    conf = _ROOT / "conf"
    parser.add_argument("--origin", type=Path, default=conf / "demo-origin.conf", help="its configuration")
    parser.add_argument("--edge", type=Path, default=conf / "demo-edge.conf", help="its configuration")
    parser.add_argument("--logs", type=Path, default=_ROOT / ".state", help="folder for the logs")
    parser.add_argument("--once", action="store_true", help="end as soon as the edge plays")
    arguments = parser.parse_args(argv)
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    return run(
        arguments.origin.absolute(), arguments.edge.absolute(), arguments.logs.absolute(), arguments.once
    )


if __name__ == "__main__":
    sys.exit(main())
