"""The handshake of a link: who gets in, who does not, and what is said before."""

from __future__ import annotations

import hashlib
import hmac
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.handshake import MAX_MESSAGE, derive_key, encode_features
from restreamer.m4f.link import NOT_AUTHORISED, Authorised, Event, Link
from restreamer.m4f.record_layout import RECORD_HEAD_STRUCT, RecordType
from restreamer.m4f.records import Ping, Pull, encode_record
from test.m4f import samples
from test.m4f.samples import NODE, OTHER_NODE

_SETTINGS = settings(deadline=None, max_examples=60, derandomize=True)

KEY = b"k" * 32
OTHER_KEY = b"o" * 32
NONCE_C = b"c" * 16
NONCE_S = b"s" * 16
REFUSAL = RECORD_HEAD_STRUCT.pack(RecordType.REFUSAL, 0, len(NOT_AUTHORISED)) + NOT_AUTHORISED.encode()


def client(
    keys: tuple[bytes, ...] = (KEY,),
    nonce: bytes = NONCE_C,
    purpose: str = "media",
    version: tuple[int, int] = (1, 0),
    features: tuple[str, ...] = (),
    binding: bytes = b"",
) -> Link:
    return Link("client", NODE, keys, nonce, purpose, version, features, binding)


def server(
    keys: tuple[bytes, ...] = (KEY,),
    nonce: bytes = NONCE_S,
    node_id: bytes = OTHER_NODE,
    version: tuple[int, int] = (1, 0),
    features: tuple[str, ...] = (),
    binding: bytes = b"",
) -> Link:
    return Link("server", node_id, keys, nonce, version=version, features=features, channel_binding=binding)


def run(one: Link, other: Link) -> tuple[list[Event], list[Event]]:
    """Carry bytes both ways until both are silent."""
    events: tuple[list[Event], list[Event]] = ([], [])
    while True:
        there = one.data_to_send()
        if there:
            events[1].extend(other.receive(there))
        back = other.data_to_send()
        if back:
            events[0].extend(one.receive(back))
        if not there and not back:
            return events


def message(record_type: int, payload: bytes) -> bytes:
    return RECORD_HEAD_STRUCT.pack(record_type, 0, len(payload)) + payload


def exchange() -> tuple[bytes, bytes, bytes, bytes]:
    """The four messages of a good handshake."""
    one, other = client(), server()
    hello = one.data_to_send()
    other.receive(hello)
    challenge = other.data_to_send()
    one.receive(challenge)
    client_proof = one.data_to_send()
    other.receive(client_proof)
    return hello, challenge, client_proof, other.data_to_send()


class GoodTests(SynchronousTestCase):
    """Two nodes of one cluster."""

    def test_both_are_authorised(self) -> None:
        one, other = client(features=("dvr", "parts")), server(features=("parts", "stats"))
        at_client, at_server = run(one, other)
        parts = frozenset({"parts"})
        self.assertEqual(at_client, [Authorised(OTHER_NODE, (1, 0), "media", parts, (1, 0))])
        self.assertEqual(at_server, [Authorised(NODE, (1, 0), "media", parts, (1, 0))])
        self.assertEqual(other.purpose, "media")
        one.send(Pull("a"))
        other.send(Ping(1))
        other.send_encoded(encode_record(Ping(2)))
        self.assertEqual(run(one, other), ([Ping(1), Ping(2)], [Pull("a")]))
        self.assertEqual((one.data_to_send(), one.skipped), (b"", 0))

    def test_the_documented_mac(self) -> None:
        hello, challenge, client_proof, server_proof = exchange()
        features = b"\0"
        for label, sent in ((b"m4f/1 client", client_proof), (b"m4f/1 server", server_proof)):
            data = b""
            for part in (label, hello[6:], challenge[6:], b"", features):
                data += struct.pack(">I", len(part)) + part
            self.assertEqual(sent[6:], hmac.new(KEY, data, hashlib.sha256).digest() + features)
        self.assertEqual(hello[6:], b"M4FL" + bytes([1, 0, 2]) + NODE + NONCE_C)
        self.assertEqual(challenge[6:], bytes([1, 0]) + OTHER_NODE + NONCE_S)
        self.assertEqual([m[0] for m in (hello, challenge, client_proof, server_proof)], [1, 2, 3, 4])

    def test_rotation(self) -> None:
        for keys in ((KEY, OTHER_KEY), (OTHER_KEY, KEY)):
            at_client, at_server = run(client((KEY, b"unused")), server(keys))
            self.assertEqual((len(at_client), len(at_server)), (1, 1))

    def test_the_lower_minor_is_spoken(self) -> None:
        at_client, at_server = run(client(version=(1, 3)), server(version=(1, 7)))
        self.assertEqual(at_client, [Authorised(OTHER_NODE, (1, 7), "media", frozenset(), (1, 3))])
        self.assertEqual(at_server, [Authorised(NODE, (1, 3), "media", frozenset(), (1, 3))])

    def test_channel_binding(self) -> None:
        self.assertEqual(len(run(client(binding=b"tls"), server(binding=b"tls"))[0]), 1)
        self.assertRaises(RemoteProtocolError, run, client(binding=b"tls"), server(binding=b"other"))

    @_SETTINGS
    @given(st.data())
    def test_any_fragments_and_records_right_behind_the_proof(self, data: st.DataObject) -> None:
        hello, challenge, client_proof, server_proof = exchange()
        tail = encode_record(Ping(7)) + message(99, b"unknown") + encode_record(Ping(8))
        for link, received in (
            (server(), hello + client_proof + tail),
            (client(), challenge + server_proof + tail),
        ):
            events: list[Event] = []
            for piece in data.draw(samples.fragments(received)):
                events += link.receive(piece)
            self.assertEqual(events, [link.authorised, Ping(7), Ping(8)])
            self.assertIsNotNone(link.authorised)
            self.assertEqual(link.skipped, 1)

    def test_longer_first_messages_of_a_later_minor_are_understood_and_proved(self) -> None:
        hello, *_ = exchange()
        longer = hello[6:] + b"later"
        link = server()
        link.receive(message(RecordType.HELLO, longer))
        challenge = link.data_to_send()[6:]
        data = b"".join(
            struct.pack(">I", len(p)) + p for p in (b"m4f/1 client", longer, challenge, b"", b"\0more")
        )
        proof = hmac.new(KEY, data, hashlib.sha256).digest()
        (event,) = link.receive(message(RecordType.CLIENT_PROOF, proof + b"\0more"))
        self.assertIsInstance(event, Authorised)


class RefusedTests(SynchronousTestCase):
    """Everybody else: one answer for all, and nothing told before."""

    def _refused_by_server(self, link: Link, data: bytes, said_before: bytes = b"") -> None:
        error = self.assertRaises(RemoteProtocolError, link.receive, data)
        self.assertEqual(error.what, NOT_AUTHORISED)
        self.assertEqual(link.data_to_send(), said_before + REFUSAL)
        self.assertIsNone(link.authorised)
        self.assertRaises(RemoteProtocolError, link.receive, b"")
        self.assertRaises(LocalProtocolError, link.send, Ping(1))

    def test_strangers_at_the_server(self) -> None:
        hello, challenge, client_proof, server_proof = exchange()
        challenged = client(nonce=b"d" * 16)
        other_hello = challenged.data_to_send()
        challenged.receive(challenge)
        other_proof = challenged.data_to_send()
        wrong = client((OTHER_KEY,))
        wrong.data_to_send()
        wrong.receive(challenge)
        wrong_proof = wrong.data_to_send()
        bad_features = message(RecordType.CLIENT_PROOF, client_proof[6:38] + b"\1")
        for name, opening, proof in (
            ("no proof but a record", hello, encode_record(Pull("a"))),
            ("no proof but another hello", hello, hello),
            ("wrong key", hello, wrong_proof),
            ("proof of another nonce", hello, other_proof),
            ("proof of another hello", other_hello, client_proof),
            ("the server's own proof", hello, message(RecordType.CLIENT_PROOF, server_proof[6:])),
            ("proof with its role changed", hello, server_proof),
            ("the challenge reflected", hello, challenge),
            ("empty proof", hello, message(RecordType.CLIENT_PROOF, b"")),
            ("short proof", hello, message(RecordType.CLIENT_PROOF, client_proof[6:37])),
            ("zeros", hello, message(RecordType.CLIENT_PROOF, bytes(33))),
            ("changed features", hello, bad_features),
            ("unknown record", hello, message(99, b"")),
            ("a refusal", hello, REFUSAL),
            ("an endless message", hello, RECORD_HEAD_STRUCT.pack(RecordType.CLIENT_PROOF, 0, 0xFFFFFFFF)),
            ("a long message", hello, RECORD_HEAD_STRUCT.pack(RecordType.CLIENT_PROOF, 0, MAX_MESSAGE + 1)),
        ):
            link = server()
            link.receive(opening)
            self.assertEqual(link.data_to_send()[6:], challenge[6:], name)
            self._refused_by_server(link, proof)

    def test_first_messages_that_are_no_hello(self) -> None:
        hello, challenge, client_proof, server_proof = exchange()
        for data in (
            encode_record(Ping(1)),
            challenge,
            client_proof,
            server_proof,
            message(RecordType.HELLO, b""),
            message(RecordType.HELLO, b"M4FS" + hello[10:]),
            message(RecordType.HELLO, hello[6:-1]),
            message(RecordType.HELLO, hello[6:12] + b"\7" + hello[13:]),
            b"GET / HTTP/1.1\r\n\r\n",
            RECORD_HEAD_STRUCT.pack(RecordType.HELLO, 0, MAX_MESSAGE + 1),
        ):
            self._refused_by_server(server(), data)

    def test_a_proof_to_another_node_or_on_another_connection(self) -> None:
        hello, challenge, client_proof, _ = exchange()
        for link in (server(nonce=b"t" * 16), server(node_id=NODE), server((OTHER_KEY,))):
            link.receive(hello)
            link.data_to_send()
            self._refused_by_server(link, client_proof)
        self.assertTrue(challenge)

    def test_every_tampered_byte_of_the_first_messages(self) -> None:
        """Versions, purpose, node ids and nonces are inside the proof."""
        for which in range(2):
            for index in range(6, 6 + (39 if which == 0 else 34)):
                one, other = client(), server()
                hello = bytearray(one.data_to_send())
                if which == 0:
                    hello[index] ^= 3  # purpose 2 becomes 1; every other field becomes another value
                try:
                    other.receive(bytes(hello))
                    challenge = bytearray(other.data_to_send())
                    if which == 1:
                        challenge[index] ^= 3
                    one.receive(bytes(challenge))
                except RemoteProtocolError:
                    continue
                error = self.assertRaises(RemoteProtocolError, other.receive, one.data_to_send())
                self.assertEqual(error.what, NOT_AUTHORISED)

    def test_impostors_at_the_client(self) -> None:
        hello, challenge, client_proof, server_proof = exchange()
        wrong = server((OTHER_KEY,))
        wrong.receive(hello)
        wrong.data_to_send()
        for name, proof in (
            ("the client's proof reflected", message(RecordType.SERVER_PROOF, client_proof[6:])),
            ("its record reflected", client_proof),
            ("no proof but a record", encode_record(Ping(1))),
            ("zeros", message(RecordType.SERVER_PROOF, bytes(33))),
            ("another challenge", challenge),
            ("an endless message", RECORD_HEAD_STRUCT.pack(RecordType.SERVER_PROOF, 0, 1 << 31)),
        ):
            link = client()
            link.data_to_send()
            link.receive(challenge)
            link.data_to_send()
            error = self.assertRaises(RemoteProtocolError, link.receive, proof)
            self.assertEqual((error.what, link.authorised), (NOT_AUTHORISED, None), name)
            self.assertEqual(link.data_to_send(), b"", name)
        stale = client(nonce=b"n" * 16)
        stale.receive(challenge)
        self.assertRaises(RemoteProtocolError, stale.receive, server_proof)
        reflected = client()
        self.assertRaises(RemoteProtocolError, reflected.receive, reflected.data_to_send())
        self.assertRaises(RemoteProtocolError, client().receive, message(RecordType.CHALLENGE, b"\1\0short"))
        self.assertRaises(RemoteProtocolError, client().receive, message(RecordType.CHALLENGE, b""))

    def test_two_clients_and_two_servers(self) -> None:
        self.assertRaises(RemoteProtocolError, run, client(), client(nonce=NONCE_S))
        self.assertEqual(run(server(), server()), ([], []))

    def test_another_major_version_is_named_to_both(self) -> None:
        one, other = client(version=(2, 1)), server()
        error = self.assertRaises(RemoteProtocolError, other.receive, one.data_to_send())
        for text in ("1.0", "2.1"):
            self.assertIn(text, error.what)
        answer = other.data_to_send()
        error = self.assertRaises(RemoteProtocolError, one.receive, answer)
        for text in ("1.0", "2.1"):
            self.assertIn(text, error.what)
        stranger = message(RecordType.HELLO, b"M4FL\5\0a layout of its own")
        self.assertIn("5.0", self.assertRaises(RemoteProtocolError, server().receive, stranger).what)
        newer = message(RecordType.CHALLENGE, b"\5\0")
        self.assertIn("5.0", self.assertRaises(RemoteProtocolError, client().receive, newer).what)

    def test_a_refusal_is_shown_without_control_characters(self) -> None:
        error = self.assertRaises(
            RemoteProtocolError, client().receive, message(RecordType.REFUSAL, b"no\x1b[2J\r\n" + b"x" * 999)
        )
        self.assertNotIn("\x1b", error.what)
        self.assertLess(len(error.what), 300)
        self.assertEqual(client().receive(message(RecordType.REFUSAL, b"no")[:7]), [])

    def test_nothing_is_sent_before_authorisation(self) -> None:
        for link in (client(), server()):
            self.assertRaises(LocalProtocolError, link.send, Ping(1))
            self.assertRaises(LocalProtocolError, link.send_encoded, b"x")
        self.assertEqual(server().data_to_send(), b"")

    def test_a_broken_record_ends_an_open_link(self) -> None:
        one, other = client(), server()
        run(one, other)
        for link in (one, other):
            self.assertRaises(RemoteProtocolError, link.receive, message(RecordType.HELLO, b""))
            self.assertRaises(RemoteProtocolError, link.receive, encode_record(Ping(1)))
            self.assertRaises(LocalProtocolError, link.send, Ping(1))

    @_SETTINGS
    @given(st.binary(max_size=200), st.booleans())
    def test_garbage(self, data: bytes, serves: bool) -> None:
        link = server() if serves else client()
        try:
            self.assertEqual(link.receive(data), [])
        except RemoteProtocolError:
            pass


class KeyTests(SynchronousTestCase):
    """Keys and parameters."""

    def test_derived_keys(self) -> None:
        key = derive_key("correct horse")
        self.assertEqual(
            key,
            hashlib.scrypt(
                b"correct horse", salt=b"restreamer m4f/1 cluster key", n=16384, r=8, p=1, dklen=32
            ),
        )
        self.assertNotEqual(key, derive_key("correct horsf"))

    def test_empty_keys(self) -> None:
        for text in ("", "  ", "\n"):
            self.assertRaises(ValueError, derive_key, text)
        for keys in ((), (b"",), (KEY, b"")):
            self.assertRaises(ValueError, client, keys)
            self.assertRaises(ValueError, server, keys)

    def test_parameters_no_link_can_have(self) -> None:
        self.assertRaises(ValueError, Link, "peer", NODE, (KEY,), NONCE_C)
        self.assertRaises(ValueError, Link, "client", NODE, (KEY,), NONCE_C, "other")
        self.assertRaises(ValueError, Link, "client", b"", (KEY,), NONCE_C)
        self.assertRaises(ValueError, Link, "client", NODE, (KEY,), b"short")
        for features in (["A"], [""], ["a b"], [f"f{n}" for n in range(33)]):
            self.assertRaises(ValueError, encode_features, features)

    def test_no_key_shows(self) -> None:
        self.assertNotIn("kkkk", repr(client()))
