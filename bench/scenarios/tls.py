"""What does TLS add to an HTTP-TS viewer?"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.scenario import Aim, Bench, SkipError
from bench.scenarios.fanout import watch
from bench.servers import node, publisher
from bench.viewers import Target
from test.e2e.nodes import free_ports
from test.e2e.samples import MEGABIT, byte_rate

NAME: Final = "tls"
TITLE: Final = "HTTPS"
BUDGET: Final = 120.0
_VIEWERS: Final = 500


def certificate(folder: Path) -> Path:
    """A certificate and its key in one file.

    @raise SkipError: there is no openssl.
    """
    key, found = folder / "key.pem", folder / "certificate.pem"
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", *words, "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(found)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SkipError("no certificate without openssl") from error
    found.write_text(found.read_text() + key.read_text())
    found.chmod(0o600)
    return found


def run(bench: Bench) -> None:
    """One repeat."""
    (port,) = free_ports(1)
    with TemporaryDirectory(prefix="bench-tls-") as name:
        pem = certificate(Path(name))
        body = (
            f"https 127.0.0.1:{port};\nssl_certificate {pem};\n"
            "template live { prefix live; input publish://; }"
        )
        for flush in (40, 100):
            bench.need(2 * bench.seconds + 14)
            with (
                node(bench.core, body, environment={"BENCH_FLUSH": str(flush)}) as server,
                publisher(f"rtmp://127.0.0.1:{server.rtmp}/live/cam", MEGABIT, bench.others),
            ):
                cells = {}
                for proto, where in (("tshttp", server.http), ("tshttps", port)):
                    target = Target(proto=proto, host="127.0.0.1", port=where, path="/live/cam/mpegts")
                    cells[proto] = watch(
                        bench, server, target, _VIEWERS, byte_rate(MEGABIT), flush / 1000, None
                    )
            plain, tls = cells["tshttp"], cells["tshttps"]
            row = bench.row(
                f"tls-{flush}",
                f"HTTPS-TS, {_VIEWERS} x 1 Mbit/s, flush {flush} ms",
                "cpu-ms",
                Aim(3.0, ratio=True),
                "plain HTTP-TS",
            )
            row.add(tls.cost * 1000 / _VIEWERS, plain.cost * 1000 / _VIEWERS, max(tls.load, plain.load))
            row.note(f"{tls.memory / 1000:.0f} KB per viewer ({plain.memory / 1000:.0f} KB plain)")
            bench.say(
                f"flush {flush}: TLS {tls.cost * 100:.1f} % plain {plain.cost * 100:.1f} %, "
                f"ratio {tls.cost / plain.cost:.2f}"
            )
