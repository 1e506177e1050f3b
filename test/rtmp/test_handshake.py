"""L{restreamer.rtmp.handshake}."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.rtmp.handshake import NONCE, PACKET, ClientHandshake, ServerHandshake
from test.rtmp.wire import VECTORS

NONCE_A = random.Random(1).randbytes(NONCE)
NONCE_B = random.Random(2).randbytes(NONCE)


class HandshakeTests(SynchronousTestCase):
    """Both roles, both forms."""

    def test_both_roles_agree(self) -> None:
        """Client and server finish, whichever form, and leave what follows."""
        for digest in (False, True):
            with self.subTest(digest=digest):
                server, client = ServerHandshake(NONCE_A), ClientHandshake(NONCE_B, digest)
                reply = server.receive(client.start())
                self.assertEqual(len(reply), 2 * PACKET + 1)
                final = client.receive(reply + b"more")
                self.assertTrue(client.done)
                self.assertEqual(client.trailing, b"more")
                self.assertEqual(server.receive(final + b"rest"), b"")
                self.assertTrue(server.done)
                self.assertEqual(server.trailing, b"rest")

    def test_plain_reply(self) -> None:
        """S2 is the echo of C1, S1 our random bytes after eight zeros."""
        c1 = bytes(4) + bytes(4) + NONCE_B
        reply = ServerHandshake(NONCE_A).receive(b"\x03" + c1)
        self.assertEqual(reply, b"\x03" + bytes(8) + NONCE_A + c1)

    def test_signed_reply_to_a_real_client(self) -> None:
        """ffmpeg's C1 is recognised as signed and answered with a version, unlike librtmp's."""
        signed = (VECTORS / "ffmpeg_publish.bin").read_bytes()[: PACKET + 1]
        self.assertNotEqual(ServerHandshake(NONCE_A).receive(signed)[5:9], bytes(4))
        plain = (VECTORS / "librtmp_publish.bin").read_bytes()[: PACKET + 1]
        self.assertEqual(ServerHandshake(NONCE_A).receive(plain)[5:9], bytes(4))

    def test_a_spoilt_digest_is_answered_plainly(self) -> None:
        """A C1 with a version but no valid digest gets the echo."""
        start = bytearray(ClientHandshake(NONCE_B, True).start())
        start[-1] ^= 1
        reply = ServerHandshake(NONCE_A).receive(bytes(start))
        self.assertEqual(reply[PACKET + 1 :], start[1:])

    def test_wrong_version(self) -> None:
        """C0 and S0 other than 3 end the connection with the first byte (R15)."""
        self.assertRaises(RemoteProtocolError, ServerHandshake(NONCE_A).receive, b"\x06")
        self.assertRaises(RemoteProtocolError, ServerHandshake(NONCE_A).receive, b"GET / HTTP/1.1\r\n")
        self.assertRaises(RemoteProtocolError, ClientHandshake(NONCE_A).receive, b"\x00")

    def test_byte_by_byte(self) -> None:
        """The reply comes once, as soon as C1 is whole."""
        client = ClientHandshake(NONCE_B)
        server = ServerHandshake(NONCE_A)
        replies = [server.receive(bytes((byte,))) for byte in client.start()]
        self.assertEqual([len(reply) for reply in replies if reply], [2 * PACKET + 1])
        self.assertTrue(replies[-1])
