"""A publisher of newer codecs, where no ffmpeg knows Enhanced RTMP: by the client of the program."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from restreamer.flv.dialect import FULL
from restreamer.media.frame import Frame
from restreamer.mp4.reader import Mp4Reader
from restreamer.rtmp.client import Action, ClientConnection
from restreamer.rtmp.handshake import NONCE
from restreamer.rtmp.url import parse_url


class EnhancedPublisher:
    """Sends an MP4 file once, in real time, from a thread of its own.

    @param port: of a server on this machine. @param stream: its name there.
    """

    def __init__(self, port: int, stream: str, path: Path) -> None:
        self._port = port
        self._client = ClientConnection(
            parse_url(f"rtmp://127.0.0.1:{port}/{stream}"), Action.PUBLISH, os.urandom(NONCE)
        )
        data = path.read_bytes()
        self._file = Mp4Reader(lambda at, size: data[at : at + size], len(data))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> EnhancedPublisher:
        """Begin."""
        self._thread.start()
        return self

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join(10)

    def _frames(self) -> Iterator[Frame]:
        for batch in self._file.batches():
            yield from batch

    def _run(self) -> None:
        client = self._client
        with socket.create_connection(("127.0.0.1", self._port), 10) as sock:
            while not client.ready:
                sock.sendall(client.data_to_send())
                data = sock.recv(65_536)
                if not data:
                    return
                client.receive(data)
            client.configure(self._file.tracks, dialect=FULL)
            begun = time.monotonic()
            for frame in self._frames():
                if self._ended.wait(max(0.0, begun + frame.dts / 90_000 - time.monotonic())):
                    break
                client.send(frame)
                sock.sendall(client.data_to_send())
            client.close()
            sock.sendall(client.data_to_send())
