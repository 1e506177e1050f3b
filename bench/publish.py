"""Publishes a looped sample over RTMP with a stamp in every picture: the moment it was sent.

The stamp is an H.264 supplemental message (user_data_unregistered, ISO/IEC 14496-10 Annex D.1.7) put in front
of each access unit: a UUID of ours, then the sender's C{CLOCK_MONOTONIC} in nanoseconds as 16 hexadecimal
digits, which every process on this machine can compare with its own. Readers look for the UUID in the bytes
they receive, whatever the container.

    python -m bench.publish rtmp://127.0.0.1:1935/live/cam --seconds 30
"""

from __future__ import annotations

import argparse
import re
import time
from urllib.parse import urlsplit

from test.e2e.rtmp_wire import VIDEO, PacedPublisher, Tag, WireClient, looped, read_flv
from test.e2e.samples import BFRAMES, MEGABIT, Sample, make

UUID = bytes.fromhex("5b9d1f6e2c47483ea1b37d52c8f6e094")
#: A stamp in received bytes: the UUID, then the time.
STAMP = re.compile(re.escape(UUID) + rb"([0-9a-f]{16})")
STAMP_SIZE = len(UUID) + 16

SEI_NAL = 6
USER_DATA_UNREGISTERED = 5


def stamp(now: int) -> bytes:
    """The NAL unit that says C{now} (ns), with its 4-byte length. Hexadecimal digits need no emulation
    prevention."""
    payload = UUID + b"%016x" % now
    unit = bytes((SEI_NAL, USER_DATA_UNREGISTERED, len(payload))) + payload + b"\x80"
    return len(unit).to_bytes(4, "big") + unit


def stamped(tag: Tag) -> Tag:
    """C{tag} with a stamp of this moment if it is a picture (AVC packet type 1)."""
    if tag.kind != VIDEO or tag.body[1] != 1:
        return tag
    # FLV video tag header: frame type and codec, packet type, 3 bytes of composition time.
    return Tag(tag.kind, tag.timestamp, tag.body[:5] + stamp(time.monotonic_ns()) + tag.body[5:])


def stamps(data: bytes) -> list[int]:
    """All send times in received bytes."""
    return [int(found, 16) for found in STAMP.findall(data)]


def publisher(port: int, app: str, key: str, sample: Sample) -> PacedPublisher:
    """A connected publisher of C{sample}; call its C{run_for}."""
    client = WireClient.connect(port, app)
    client.publish(key)
    return PacedPublisher(client, looped(read_flv(make(sample))), dress=stamped)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="rtmp://127.0.0.1:PORT/APP/KEY")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--megabit", action="store_true", help="the 1 Mbit/s sample instead of the small one")
    options = parser.parse_args()
    parts = urlsplit(options.url)
    app, _, key = parts.path.strip("/").rpartition("/")
    paced = publisher(parts.port or 1935, app, key, MEGABIT if options.megabit else BFRAMES)
    paced.run_for(options.seconds)
    paced.client.close()


if __name__ == "__main__":
    main()
