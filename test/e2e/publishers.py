"""Publishers as their users run them: ffmpeg sending a sample in real time."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from attrs import define

from test.e2e.nodes import LateError
from test.e2e.samples import BFRAMES, FFMPEG, Sample, make


@define(eq=False)
class Publisher:
    """An ffmpeg that publishes C{sample} to C{url}, looped, and keeps a copy of what it sent if asked.

    @ivar copy: an FLV file that gets the same packets with the same timestamps, or None.
    """

    url: str
    sample: Sample = BFRAMES
    copy: Path | None = None
    loop: bool = True
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0

    def command(self) -> list[str]:
        """The ffmpeg command."""
        command = [FFMPEG or "ffmpeg", "-hide_banner", "-loglevel", "warning", "-nostdin", "-y", "-re"]
        command += ["-stream_loop", "-1"] if self.loop else []
        command += ["-i", str(make(self.sample)), "-c", "copy", "-map", "0"]
        if self.copy is None:
            return [*command, "-f", "flv", self.url]
        return [*command, "-f", "tee", f"[f=flv:onfail=abort]{self.url}|[f=flv:flush_packets=1]{self.copy}"]

    def start(self) -> Publisher:
        """Start sending."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return self

    @property
    def running(self) -> bool:
        """Whether it still sends."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """End the publish as ffmpeg does when asked to (it unpublishes)."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        if self.process is not None and self.process.stderr is not None:
            self.process.stderr.close()

    def kill(self) -> None:
        """End it with no goodbye."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def ended(self, seconds: float) -> tuple[int, str]:
        """Wait until it gave up by itself: exit code and what it complained of.

        @raise LateError: it still runs after C{seconds}.
        """
        assert self.process is not None
        try:
            _, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise LateError(f"the publisher to {self.url} still runs after {seconds} s") from None
        return self.process.returncode, errors.decode(errors="replace")

    def __enter__(self) -> Publisher:
        return self if self.running else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
