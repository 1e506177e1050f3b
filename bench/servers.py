"""The servers under measurement: ours and, for comparison, nginx with its RTMP module, each pinned to one
core."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from test.e2e.nodes import Node, free_ports, wait_for_port
from test.e2e.samples import FFMPEG, Sample, make

MODULES = ("/usr/lib/nginx/modules/ngx_rtmp_module.so", "/usr/lib64/nginx/modules/ngx_rtmp_module.so")


@frozen(kw_only=True)
class Running:
    """A server that runs.

    @ivar pid: its one process. @ivar rtmp, http: its ports on 127.0.0.1; C{http} is 0 when it has none.
    """

    name: str
    pid: int
    rtmp: int
    http: int = 0


def nginx_config(port: int, folder: Path, extra: str) -> str:
    """A private nginx that only relays RTMP, in one process; C{extra} goes into its application."""
    module = next((path for path in MODULES if os.path.exists(path)), "")
    load = f"load_module {module};\n" if module else ""
    return (
        f"{load}daemon off;\nmaster_process off;\n"
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log error;\n"
        "worker_rlimit_nofile 20000;\nevents { worker_connections 20000; }\n"
        f"rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; {extra} }} }} }}\n"
    )


def pin(core: int) -> list[str]:
    """Words that put a command on C{core}."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") else []


@contextlib.contextmanager
def nginx_rtmp(core: int, extra: str = "") -> Iterator[Running]:
    """nginx with the RTMP module in a folder of its own."""
    with TemporaryDirectory(prefix="bench-nginx-") as name:
        folder = Path(name)
        (port,) = free_ports(1)
        config = folder / "nginx.conf"
        config.write_text(nginx_config(port, folder, extra))
        command = [*pin(core), "nginx", "-c", str(config), "-p", name, "-e", f"{folder}/error.log"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port, 10.0)
            yield Running(name="nginx-rtmp", pid=process.pid, rtmp=port)
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def node(
    core: int, body: str = "template live { prefix live; input publish://; }", name: str = "restreamer"
) -> Iterator[Running]:
    """One of our nodes that takes publishes below C{live/}."""
    with TemporaryDirectory(prefix="bench-node-") as folder, contextlib.ExitStack() as stack:
        ours = Node(name, body, Path(folder), loglevel="info", prefix=pin(core))
        stack.callback(ours.stop)
        ours.start()
        ours.wait_ready()
        yield Running(name=name, pid=ours.pid, rtmp=ours.rtmp, http=ours.http)


@contextlib.contextmanager
def publisher(
    url: str, sample: Sample, cores: Sequence[int] = (), wait: float = 3.0
) -> Iterator[subprocess.Popen[bytes]]:
    """ffmpeg publishes C{sample} to C{url} in real time, for ever. C{wait}: seconds it gets to begin."""
    path = make(sample)
    where = ["taskset", "-c", ",".join(map(str, cores))] if cores and shutil.which("taskset") else []
    command = [
        *(*where, FFMPEG or "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin"),
        *("-re", "-stream_loop", "-1", "-i", str(path), "-c", "copy", "-f", "flv", url),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(wait)
        if process.poll() is not None:
            raise RuntimeError(f"the publisher ended with {process.returncode}")
        yield process
    finally:
        process.terminate()
        process.wait(10)
