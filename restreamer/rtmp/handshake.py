"""The RTMP handshake, both roles (Adobe RTMP 1.0 section 5.2), plain and with the signed digests of Flash.

Plain: C0 C1 go one way, S0 S1 S2 the other, C2 ends it; S2 echoes C1 and C2 echoes S1. Digest: C1 carries
an HMAC-SHA256 of itself at an offset told by four of its own bytes, at one of two places ("schemes"); the
answer carries one too, and the second packet ends with a signature keyed by the digest it answers. The keys
are public constants. A peer that sends a digest gets one; any other gets the plain form; nothing is verified
beyond that, because neither form proves anything.

Both machines are given their random bytes and never make any.
"""

from __future__ import annotations

import hmac

from restreamer.errors import RemoteProtocolError

VERSION = 3
PACKET = 1536
#: Bytes of randomness each role needs.
NONCE = PACKET - 8

_DIGEST = 32
_SIGNED = PACKET - _DIGEST
_CLIENT_KEY = b"Genuine Adobe Flash Player 001"
_SERVER_KEY = b"Genuine Adobe Flash Media Server 001"
_KEY_TAIL = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d2980 6fab93b8e636cfeb31ae")
_SCHEMES = (8, 772)
_SERVER_PRODUCT = bytes((4, 5, 0, 1))
_CLIENT_PRODUCT = bytes((10, 0, 32, 18))


def _sha(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _digest_place(packet: bytes | bytearray, scheme: int) -> int:
    return sum(packet[scheme : scheme + 4]) % 728 + scheme + 4


def _packet_digest(packet: bytes, place: int, key: bytes) -> bytes:
    return _sha(key, packet[:place] + packet[place + _DIGEST :])


def _find_digest(packet: bytes, key: bytes) -> tuple[int, bytes] | None:
    """Scheme and digest of a signed C1 or S1, or None for a plain one."""
    if packet[4:8] == b"\0\0\0\0":
        return None
    for scheme in _SCHEMES:
        place = _digest_place(packet, scheme)
        digest = packet[place : place + _DIGEST]
        if hmac.compare_digest(digest, _packet_digest(packet, place, key)):
            return scheme, digest
    return None


def _signed_packet(product: bytes, nonce: bytes, scheme: int, key: bytes) -> bytes:
    packet = bytearray(bytes(4) + product + nonce)
    place = _digest_place(packet, scheme)
    packet[place : place + _DIGEST] = _packet_digest(bytes(packet), place, key)
    return bytes(packet)


def _signed_answer(nonce: bytes, digest: bytes, key: bytes) -> bytes:
    body = nonce[:_SIGNED]
    return body + _sha(_sha(key + _KEY_TAIL, digest), body)


class ServerHandshake:
    """The server's half. Bytes after the handshake are left in L{trailing}."""

    def __init__(self, nonce: bytes) -> None:
        """Start with C{nonce}, L{NONCE} random bytes."""
        self._nonce = nonce
        self._buffer = bytearray()
        self._answered = False
        self.done = False
        self.trailing = b""

    def receive(self, data: bytes) -> bytes:
        """Take bytes, give back what must be sent (S0 S1 S2 in one piece, or nothing).

        @raise RemoteProtocolError: when C0 is not 3 (section 5.2.2).
        """
        buffer = self._buffer
        buffer += data
        if buffer and buffer[0] != VERSION:
            raise RemoteProtocolError("handshake", f"C0 is {buffer[0]}, expected {VERSION}")
        reply = b""
        if not self._answered and len(buffer) > PACKET:
            self._answered = True
            reply = self._reply(bytes(buffer[1 : PACKET + 1]))
        if len(buffer) > 2 * PACKET:
            self.done = True
            self.trailing = bytes(buffer[2 * PACKET + 1 :])
            buffer.clear()
        return reply

    def _reply(self, c1: bytes) -> bytes:
        found = _find_digest(c1, _CLIENT_KEY)
        if found is None:
            return bytes((VERSION,)) + bytes(8) + self._nonce + c1
        scheme, digest = found
        s1 = _signed_packet(_SERVER_PRODUCT, self._nonce, scheme, _SERVER_KEY)
        return bytes((VERSION,)) + s1 + _signed_answer(self._nonce, digest, _SERVER_KEY)


class ClientHandshake:
    """The client's half: send L{start}, then feed L{receive}."""

    def __init__(self, nonce: bytes, digest: bool = False) -> None:
        """Start with L{NONCE} random bytes; C{digest} asks for the signed form."""
        self._nonce = nonce
        self._digest = digest
        self._buffer = bytearray()
        self._answered = False
        self.done = False
        self.trailing = b""

    def start(self) -> bytes:
        """C0 and C1."""
        if self._digest:
            c1 = _signed_packet(_CLIENT_PRODUCT, self._nonce, _SCHEMES[0], _CLIENT_KEY)
        else:
            c1 = bytes(8) + self._nonce
        return bytes((VERSION,)) + c1

    def receive(self, data: bytes) -> bytes:
        """Take bytes, give back C2 once S1 is whole.

        @raise RemoteProtocolError: when S0 is not 3.
        """
        buffer = self._buffer
        buffer += data
        if buffer and buffer[0] != VERSION:
            raise RemoteProtocolError("handshake", f"S0 is {buffer[0]}, expected {VERSION}")
        reply = b""
        if not self._answered and len(buffer) > PACKET:
            self._answered = True
            s1 = bytes(buffer[1 : PACKET + 1])
            found = _find_digest(s1, _SERVER_KEY)
            reply = s1 if found is None else _signed_answer(self._nonce, found[1], _CLIENT_KEY)
        if len(buffer) > 2 * PACKET:
            self.done = True
            self.trailing = bytes(buffer[2 * PACKET + 1 :])
            buffer.clear()
        return reply
