"""The servers under measurement: ours and, for comparison, nginx with its RTMP module, each pinned to one
core."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen
from typing_extensions import override

from test.e2e.nodes import ROOT, Node, free_ports, wait_for_port
from test.e2e.samples import FFMPEG, Sample, make

MODULES = ("/usr/lib/nginx/modules/ngx_rtmp_module.so", "/usr/lib64/nginx/modules/ngx_rtmp_module.so")


@frozen(kw_only=True)
class Running:
    """A server that runs.

    @ivar pid: its one process. @ivar rtmp, http: its ports on 127.0.0.1; C{http} is 0 when it has none.
    @ivar ours: a node of this program.
    """

    name: str
    pid: int
    rtmp: int
    http: int = 0
    ours: bool = False


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
    """Words that put a command on C{core}, before others if C{BENCH_NICE} says how much (root: C{-10})."""
    nice = os.environ.get("BENCH_NICE", "0")
    words = ["nice", "-n", nice] if int(nice) else []
    return [*words, "taskset", "-c", str(core)] if shutil.which("taskset") else words


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
def nginx_static(core: int, files: Mapping[str, bytes]) -> Iterator[Running]:
    """nginx, one process, serves C{files} from memory (a folder of a tmpfs where there is one)."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(prefix="bench-static-", dir=memory) as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path, data in files.items():
            (folder / path).write_bytes(data)
        (port,) = free_ports(1)
        config = folder / "nginx.conf"
        config.write_text(
            "daemon off;\nmaster_process off;\nworker_processes 1;\n"
            f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log error;\nworker_rlimit_nofile 20000;\n"
            "events { worker_connections 20000; }\n"
            "http { access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;\n"
            "  keepalive_requests 1000000000;\n"
            "  open_file_cache max=100; types { video/mp2t ts; application/vnd.apple.mpegurl m3u8; }\n"
            f"  server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}; }} }}\n"
        )
        command = [*pin(core), "nginx", "-c", str(config), "-p", name, "-e", f"{folder}/error.log"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port, 10.0)
            yield Running(name="nginx", pid=process.pid, rtmp=0, http=port)
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def bare_sender(core: int, rate: float, flush: int) -> Iterator[Running]:
    """A loop that only sends C{rate} bytes/s to everybody, every C{flush} ms (L{bench.bare_sender})."""
    (port,) = free_ports(1)
    command = [*pin(core), sys.executable, "-m", "bench.bare_sender", str(port), str(rate), str(flush)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, 10.0)
        yield Running(name="a loop that only sends", pid=process.pid, rtmp=0, http=port)
    finally:
        process.terminate()
        process.wait(10)


#: Where L{bench.peers} puts node-media-server.
NMS_FOLDER = Path(os.environ.get("BENCH_PEERS", "build/bench-peers")).resolve()


@contextlib.contextmanager
def node_media_server(core: int) -> Iterator[Running]:
    """node-media-server in a folder of its own.

    @raise FileNotFoundError: it is not installed.
    """
    package = NMS_FOLDER / "node_modules" / "node-media-server"
    if not package.exists() or shutil.which("node") is None:
        raise FileNotFoundError("node-media-server is not installed")
    with TemporaryDirectory(prefix="bench-nms-") as name:
        rtmp, http = free_ports(2)
        config = {
            "bind": "127.0.0.1",
            "notify": {"url": ""},
            "store": {"path": f"{name}/data", "maxHistory": 10},
            "auth": {"play": False, "publish": False, "secret": "", "jwt": {"secret": "", "users": []}},
            "rtmp": {"port": rtmp},
            "http": {"port": http},
            "webadmin": {"enable": False},
            "record": {"auto": False, "path": f"{name}/record"},
        }
        path = Path(name) / "config.json"
        path.write_text(json.dumps(config))
        script = f"new (require({str(package)!r}))({json.dumps(config)}, {str(path)!r}).run()"
        command = [*pin(core), "node", "-e", script]
        process = subprocess.Popen(command, cwd=name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(rtmp, 10.0)
            yield Running(name="node-media-server", pid=process.pid, rtmp=rtmp, http=http)
        finally:
            process.terminate()
            process.wait(10)


#: In the PYTHONPATH of nodes that are measured with another flush interval than their own.
TUNING = str(Path(__file__).parent / "tuning")


class TunedNode(Node):
    """A node of L{bench.tuned_node}.

    @ivar environment: what is to be other than usual: C{BENCH_FLUSH}, C{BENCH_PROBE}.
    """

    @override
    def start(self) -> None:
        """Start the process."""
        self.environment = {**self.environment, "PYTHONPATH": f"{TUNING}{os.pathsep}{ROOT}"}
        Node.start(self)

    @override
    def command(self) -> list[str]:
        """How it is started."""
        launcher = (sys.executable, "-m", "bench.tuned_node", "--nodaemon", "--pidfile=")
        return [*self.prefix, *launcher, "restreamer", "--config", str(self.config)]


@contextlib.contextmanager
def node(
    core: int,
    body: str = "template live { prefix live; input publish://; }",
    name: str = "restreamer",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """One of our nodes that takes publishes below C{live/}.

    @param environment: what L{bench.tuned_node} is to change; with none the program runs as it is.
    """
    with TemporaryDirectory(prefix="bench-node-") as folder, contextlib.ExitStack() as stack:
        kind = TunedNode if environment else Node
        ours = kind(
            name, body, Path(folder), loglevel="info", prefix=pin(core), environment=environment or {}
        )
        stack.callback(ours.stop)
        ours.start()
        ours.wait_ready()
        yield Running(name=name, pid=ours.pid, rtmp=ours.rtmp, http=ours.http, ours=True)


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
