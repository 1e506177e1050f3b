"""A real PostgreSQL server on the loopback, made and ended by the tests; skipped where there is none."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from unittest import SkipTest

from test.e2e.nodes import free_ports

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def found() -> Path | None:
    """The folder of the server's programs; None: it is not installed."""
    for place in _PLACES:
        if (place / "initdb").exists():
            return place
    which = shutil.which("initdb")
    return Path(which).parent if which else None


@lru_cache(maxsize=1)
def shared() -> Postgres:
    """The server of this test process, running.

    @raise SkipTest: none is installed.
    """
    if found() is None:
        raise SkipTest("PostgreSQL is not installed")
    server = Postgres()
    atexit.register(server.close)
    server.start()
    return server


class Postgres:
    """One server with a database of its own."""

    def __init__(self) -> None:
        place = found()
        assert place is not None
        self._place = place
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        (self.port,) = free_ports(1)
        self.url = f"postgresql://journal:secret-of-it@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        # The server refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        secret = self._folder / "secret"
        secret.write_text("secret-of-it")
        secret.chmod(0o644)
        options = f"-U journal -A scram-sha-256 --no-sync -E UTF8 -D {self._folder}/data --pwfile {secret}"
        subprocess.run(
            [str(place / "initdb"), *options.split()],
            check=True,
            capture_output=True,
            user=self._user,
            cwd="/",
        )

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-D {self._folder}/data -p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self._process = subprocess.Popen(
            [str(self._place / "postgres"), *options.split()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )
        deadline = time.monotonic() + 30
        ready = [str(self._place / "pg_isready"), *f"-q -h 127.0.0.1 -p {self.port}".split()]
        while subprocess.run(ready).returncode != 0:
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it without a chance to say goodbye, with all its children."""
        process, self._process = self._process, None
        if process is not None:
            children = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
            ).stdout.split()
            for pid in [process.pid, *map(int, children)]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait(10)

    def close(self) -> None:
        """End it and remove what it has."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
