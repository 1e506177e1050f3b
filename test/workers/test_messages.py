"""Messages between processes as bytes."""

from __future__ import annotations

import pickle
from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.config.load import parse
from restreamer.errors import RemoteProtocolError
from restreamer.seams import OpenRequest
from restreamer.workers.derived import worker_configuration
from restreamer.workers.messages import (
    MAX_MESSAGE,
    Asked,
    Configure,
    Denied,
    Granted,
    Message,
    MessageReader,
    Passed,
    Used,
    descriptors,
    encode,
)

REQUEST = OpenRequest(name="cam", action="play", proto="hls", peer="192.0.2.1", token="secret")
SENT: list[Message] = [
    Asked(1, REQUEST),
    Granted(1, 7, "secret", 30.0, None),
    Denied(2, "DENIED", "no", ("", "", "", "http://elsewhere/")),
    Used(((7, 1_000_000, True, 90_000 * 10**9), (8, 0, False, 0))),
    Passed(number=3, listen=("", 80), peer="192.0.2.1", secure=False, data=b"GET / HTTP/1.1\r\n\r\n"),
]
CONFIGURATION = """
workers 3;
http 80;
rtmp 1935;
cluster_key abcdefghijklmnop;
state_dir /var/lib/x;
vod films { storage /films; }
stream cam {
  input publish://; input file://films/x.mp4;
  password hush; push rtmp://there/app/x; on_play http://b/;
}
template live { prefix live; input publish://; dvr /archive 1d; }
source origin:80 { dvr /archive 1d; }
"""


class Messages(SynchronousTestCase):
    """Whole values, however the bytes come."""

    @given(st.lists(st.integers(1, 200), max_size=40))
    @settings(deadline=None, max_examples=60, derandomize=True)
    def test_any_fragmentation(self, sizes: list[int]) -> None:
        data = b"".join(encode(each) for each in SENT)
        reader, found, at = MessageReader(), [], 0
        for size in [*sizes, len(data)]:
            found += list(reader.receive(data[at : at + size]))
            at += size
        self.assertEqual(found, SENT)

    def test_descriptors(self) -> None:
        """A message says how many come with it."""
        self.assertEqual([descriptors(each) for each in SENT], [0, 0, 0, 0, 1])

    def test_what_is_none(self) -> None:
        """A length without sense, and a value that cannot be read, are errors of the stream."""
        for data in (b"\xff\xff\xff\xff", (MAX_MESSAGE + 1).to_bytes(4, "big"), b"\0\0\0\x02ab"):
            with self.assertRaises(RemoteProtocolError):
                list(MessageReader().receive(data))

    def test_secrets_are_not_shown(self) -> None:
        """No repr of a message has a token."""
        for message in SENT[:3]:
            self.assertNotIn("secret", repr(message))
            self.assertNotIn("elsewhere", repr(message))

    def test_configurations(self) -> None:
        """A configuration goes over whole, its read-only mappings included."""
        configuration = parse(CONFIGURATION, "/etc/x.conf").configuration
        self.assertIsInstance(configuration.streams, MappingProxyType)
        message = Configure(
            configuration=configuration,
            place=1,
            workers=3,
            node_id=b"n" * 16,
            socket="/s",
            key=b"k" * 32,
            secret=b"s" * 32,
            sockets=(("http", "", 80),),
        )
        (found,) = MessageReader().receive(encode(message))
        self.assertEqual(found, message)
        self.assertEqual(descriptors(found), 1)
        self.assertNotIn("abcdefghijklmnop", repr(found))
        self.assertEqual(pickle.loads(pickle.dumps(REQUEST)), REQUEST)


class WorkerConfigurations(SynchronousTestCase):
    """What a worker runs by."""

    def test_less(self) -> None:
        """Listeners and who may publish where; nothing that only the main process does."""
        whole = parse(CONFIGURATION, "/etc/x.conf").configuration
        kept = worker_configuration(whole)
        self.assertEqual((kept.http, kept.rtmp), (whole.http, whole.rtmp))
        cam = kept.streams["cam"]
        self.assertTrue(cam.takes_publisher)
        self.assertEqual([each.scheme for each in cam.inputs], ["publish"])
        self.assertEqual((cam.push, cam.dvr, cam.auth.on_play), ((), None, ""))
        self.assertIsNone(kept.templates["live"].stream.dvr)
        self.assertEqual((kept.sources, kept.cluster_key, kept.state_dir), ((), "", ""))
