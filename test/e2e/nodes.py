"""Nodes of the program as child processes, with a configuration, ports and a log of their own.

Everything here blocks with a deadline: the tests watch programs from outside, so there is no reactor to
serve.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field, frozen

from test.e2e.machine import stretch

ROOT = Path(__file__).resolve().parents[2]
KEY = "abcdefghijklmnop"
POLL_SECONDS = 0.02
#: twistd of the Python that runs the tests, in the foreground.
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=")

T = TypeVar("T")


class LateError(AssertionError):
    """A condition did not come true in time."""


def wait_until(condition: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first true value of C{condition}, asked every 20 ms; connection errors count as not yet.

    @raise LateError: it took more than C{seconds}, or as much longer as the machine is too busy to run us.
    """
    began = time.monotonic()
    stretched = False
    trouble: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, http.client.HTTPException) as error:
            trouble = error
        if time.monotonic() > began + seconds:
            if not stretched:
                stretched, seconds = True, round(seconds * stretch(), 1)
                continue
            raise LateError(f"not within {seconds} s: {what}" + (f" (last: {trouble!r})" if trouble else ""))
        time.sleep(POLL_SECONDS)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface nobody listens on, below the range the system gives to clients."""
    found: list[int] = []
    while len(found) < count:
        port = 10_000 + int.from_bytes(os.urandom(2), "big") % 22_000
        if port in found:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def wait_for_port(port: int, seconds: float) -> None:
    """Wait until something accepts on C{port}."""

    def accepted() -> bool:
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return True

    wait_until(accepted, seconds, f"a listener on port {port}")


@frozen
class Answer:
    """A complete HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def get(
    port: int,
    path: str,
    *,
    timeout: float = 5.0,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        reply = connection.getresponse()
        body = reply.read()
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, body)
    finally:
        connection.close()


#: What must never be in a log: an exception nobody expected, a segment that is not what its source has.
ALARMS = re.compile(
    r"Unhandled|Traceback \(most recent call last\)|#(?:error|critical)\]|\b(?:ERROR|CRITICAL)\b|exceptions\."
    r"|came damaged"
)

#: What configurations of tests have that nobody may see: words of theirs, logins in URLs, keys of links.
SECRETS = re.compile(
    r"\b(?:cluster_key|password)\s+([^\s;{}]+)|\b(?:view|edit)_auth\s+\S+\s+([^\s;]+)"
    r"|://[^/\s;:@]*:([^/\s;@]+)@|securetoken://([^\s;?]+)"
)
#: Shorter ones may be in a log by chance.
LEAST_SECRET = 8


def secrets_of(text: str) -> set[str]:
    """The secrets of a configuration, but for short ones."""
    found = {next(filter(None, match.groups())) for match in SECRETS.finditer(text)}
    return {each for each in found if len(each) >= LEAST_SECRET}


@define(eq=False)
class Node:
    """One node.

    @ivar name: for file names and messages. @ivar body: configuration after the lines every node has.
    @ivar folder: where its configuration, state and log live. @ivar http, rtmp: its ports, kept over
        restarts.
    @ivar head: the common lines; C{{http}}, C{{rtmp}}, C{{state}}, C{{level}} are filled in.
    @ivar prefix: words before the command (to pin it to a core, say).
    @ivar secrets: of all the configurations it had: in no log of its life.
    """

    name: str
    body: str
    folder: Path
    key: str = KEY
    loglevel: str = "debug"
    prefix: Sequence[str] = ()
    segment_duration: int = 2
    http: int = 0
    rtmp: int = 0
    process: subprocess.Popen[bytes] | None = None
    checked: int = 0
    searched: int = 0
    secrets: set[str] = field(factory=set)
    environment: Mapping[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.http:
            self.http, self.rtmp = free_ports(2)
        self.write_config(self.body)

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / f"{self.name}.conf"

    @property
    def log(self) -> Path:
        """Its standard output and error."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The running process.

        @raise AssertionError: it is not running.
        """
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"{self.name} is not running; its log ends:\n{self.log_text()[-3000:]}")
        return self.process.pid

    def write_config(self, body: str) -> None:
        """Replace the configuration file (takes effect at the next start or reload)."""
        self.body = body
        head = (
            f"http 127.0.0.1:{self.http};\nrtmp 127.0.0.1:{self.rtmp};\n"
            + (f"cluster_key {self.key};\n" if self.key else "")
            + f"state_dir {self.folder / (self.name + '.state')};\nloglevel {self.loglevel};\n"
        )
        self.config.write_text(head + body + "\n")
        self.secrets |= secrets_of(head + body)
        self.config.chmod(0o600)

    def command(self) -> list[str]:
        """How it is started."""
        return [*self.prefix, *TWISTD, "restreamer", "--config", str(self.config)]

    def start(self) -> None:
        """Start the process; see L{wait_ready}."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment
            )

    def run_to_end(self, seconds: float = 20.0) -> tuple[int, str]:
        """Start it where it must not stay up: the exit code and what it wrote."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
        done = subprocess.run(
            self.command(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=ROOT,
            env=environment,
            timeout=seconds,
        )
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def wait_ready(self, seconds: float = 15.0) -> None:
        """Wait until it says that it is ready."""

        def ready() -> bool:
            self.pid  # noqa: B018 - raises when the process is gone
            return get(self.http, "/streamer/api/v3/monitoring/readiness", timeout=2.0).status == 200

        wait_until(ready, seconds, f"{self.name} is ready")
        wait_for_port(self.rtmp, 5.0)

    def up(self) -> Node:
        """Start and wait; for one-line fixtures."""
        self.start()
        self.wait_ready()
        return self

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM and wait; SIGKILL after C{seconds}. The exit code, 0 when it did not run."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise LateError(f"{self.name} did not stop within {seconds} s of SIGTERM") from None
        return self.process.returncode

    def reload(self) -> None:
        """SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    def log_text(self) -> str:
        """Its whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_log(self, pattern: str, seconds: float = 5.0, since: int = 0) -> str:
        """Wait for a log line that matches C{pattern}, after byte C{since} of the log; the line."""

        def found() -> str | None:
            match = re.search(f"^.*(?:{pattern}).*$", self.log_text()[since:], re.MULTILINE | re.IGNORECASE)
            return match.group(0) if match else None

        return wait_until(
            found, seconds, f"{self.name} logs /{pattern}/; its log ends:\n{self.log_text()[-1500:]}"
        )

    def alarms(self, *expected: str) -> list[str]:
        """Lines of the log since the last call that no test foresaw: exceptions and errors.

        @param expected: patterns of lines that are right in this test.
        """
        text = self.log_text()
        fresh, self.checked = text[self.checked :], len(text)
        lines = [line for line in fresh.splitlines() if ALARMS.search(line)]
        return [
            line for line in lines if not any(re.search(pattern, line, re.IGNORECASE) for pattern in expected)
        ]

    def assert_quiet(self, *expected: str) -> None:
        """Fail when the log holds L{alarms}, with their neighbourhood, or a secret."""
        self.assert_discreet()
        before = self.checked
        alarms = self.alarms(*expected)
        if alarms:
            text = self.log_text()[before:]
            at = text.find(alarms[0])
            raise AssertionError(
                f"{self.name} logged {len(alarms)} alarms, the first:\n{text[max(0, at - 300) : at + 2500]}"
            )

    def assert_discreet(self) -> None:
        """Fail when the log since the last call has a secret of a configuration."""
        text = self.log_text()
        fresh, self.searched = text[self.searched :], len(text)
        for secret in self.secrets:
            at = fresh.find(secret)
            if at >= 0:
                shown = fresh[max(0, at - 300) : at + 300].replace(secret, "<SECRET>")
                raise AssertionError(f"{self.name} logged a secret of its configuration: {shown}")

    # -- what it says and uses

    def get(self, path: str, **how: Any) -> Answer:
        """One HTTP request to it."""
        return get(self.http, path, **how)

    def streams(self) -> dict[str, dict[str, Any]]:
        """Its streams by name, as the API tells them."""
        answer = self.get("/streamer/api/v3/streams")
        if answer.status != 200:
            raise AssertionError(f"{self.name}: streams answered {answer.status} {answer.body[:200]!r}")
        return {stream["name"]: stream for stream in answer.json()["streams"]}

    def connected(self, stream: str) -> int:
        """Viewers of C{stream} that have a connection of their own now."""
        play = self.streams()[stream]["stats"].get("play", {})
        return sum(each["online_clients"] for each in play.values())

    def alive(self, stream: str) -> bool:
        """Whether C{stream} plays on this node now."""
        found = self.streams().get(stream)
        return bool(found and found.get("stats", {}).get("alive"))

    def wait_alive(self, stream: str, seconds: float = 10.0) -> None:
        """Wait until L{alive}."""
        wait_until(lambda: self.alive(stream), seconds, f"{stream} is alive on {self.name}")

    def url(self, stream: str, proto: str) -> str:
        """Where players find C{stream}: C{rtmp}, C{tshttp}, C{hls}."""
        if proto == "rtmp":
            return f"rtmp://127.0.0.1:{self.rtmp}/{stream}"
        return f"http://127.0.0.1:{self.http}/{stream}/" + {"tshttp": "mpegts", "hls": "index.m3u8"}[proto]

    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
