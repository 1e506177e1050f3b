"""A real S3 server on the loopback, in a process of its own, for as long as tests run."""

from __future__ import annotations

import atexit
import importlib.util
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from attrs import define

from restreamer.config.model import S3Config

#: Why there is none; empty: there is.
MISSING = (
    ""
    if importlib.util.find_spec("moto")
    and importlib.util.find_spec("flask")
    and importlib.util.find_spec("botocore")
    else "no moto server (pip install 'moto[server]')"
)


@define(eq=False)
class ObjectServer:
    """A server that was started. @ivar port: on the loopback."""

    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls) -> ObjectServer:
        """Start one and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        server = cls(port, process)
        atexit.register(server.stop)
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1).close()
            except urllib.error.HTTPError:
                return server
            except OSError:
                time.sleep(0.05)
            else:
                return server
        server.stop()
        raise RuntimeError("the object server did not come up")

    def config(self, bucket: str, prefix: str = "node", make: bool = True) -> S3Config:
        """A bucket of it."""
        config = S3Config(
            endpoint=f"http://127.0.0.1:{self.port}", key="key", secret="hidden", bucket=bucket, prefix=prefix
        )
        if make:
            from restreamer.dvr.s3_client import S3Bucket

            S3Bucket(config)._client.create_bucket(Bucket=bucket)
        return config

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


_server: list[ObjectServer] = []


def object_server() -> ObjectServer:
    """The one that all tests share."""
    if not _server:
        _server.append(ObjectServer.start())
    return _server[0]
