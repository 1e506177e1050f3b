"""The handshake of a link: its four messages and the proofs in them (docs/m4f.md has every byte).

The client says hello, the server answers with a challenge, the client proves that it knows the key, the
server proves the same. A proof is HMAC-SHA256 over the label of its role and over both first messages as they
were sent, every field with its length before it: both versions, the purpose, both node ids, both nonces. So a
proof is worth nothing on another link, to another node or in the other direction, and no field can be changed
on the way. The key itself is never sent, and guessing it from a captured handshake costs one scrypt a guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from collections.abc import Iterable, Sequence

from attrs import frozen
from construct import Bytes, ConstructError, GreedyBytes, Int8ub, Prefixed, PrefixedArray, Struct

from restreamer.errors import RemoteProtocolError

#: (major, minor): another major is not understood; of two minors the lower is spoken.
Version = tuple[int, int]
VERSION: Version = (1, 0)

WHERE = "M4F handshake"
HELLO_MAGIC = b"M4FL"
NONCE_SIZE = 16
PROOF_SIZE = 32
#: Largest handshake message, bytes: it is all a stranger can make us hold.
MAX_MESSAGE = 4096
MAX_FEATURES = 32
CLIENT_LABEL = b"m4f/1 client"
SERVER_LABEL = b"m4f/1 server"
KEY_LABEL = b"restreamer m4f/1 cluster key"
PURPOSES = {"control": 1, "media": 2, "file": 3, "push": 4}

_PURPOSE_NAMES = {number: name for name, number in PURPOSES.items()}
_FEATURE = re.compile(rb"[a-z0-9-]{1,32}")

HELLO = Struct(
    "magic" / Bytes(4),
    "major" / Int8ub,
    "minor" / Int8ub,
    "purpose" / Int8ub,
    "node_id" / Bytes(16),
    "nonce" / Bytes(NONCE_SIZE),
)
CHALLENGE = Struct(
    "major" / Int8ub,
    "minor" / Int8ub,
    "node_id" / Bytes(16),
    "nonce" / Bytes(NONCE_SIZE),
)
#: Follows the proof in both proof messages and is covered by it.
FEATURES = PrefixedArray(Int8ub, Prefixed(Int8ub, GreedyBytes))


@frozen
class Hello:
    """First message, of the client. @ivar purpose: C{"control"}, C{"media"} or C{"file"}."""

    version: Version
    purpose: str
    node_id: bytes
    nonce: bytes


@frozen
class Challenge:
    """Second message, of the server."""

    version: Version
    node_id: bytes
    nonce: bytes


def derive_key(cluster_key: str) -> bytes:
    """The key of the proofs, from the configured one; slow on purpose (tens of milliseconds): once at start.

    @raise ValueError: when C{cluster_key} is empty or blank.
    """
    if not cluster_key.strip():
        raise ValueError("the cluster key is empty")
    return hashlib.scrypt(cluster_key.encode("utf-8"), salt=KEY_LABEL, n=1 << 14, r=8, p=1, dklen=32)


def encode_hello(hello: Hello) -> bytes:
    """Payload of the first message."""
    return HELLO.build(
        {
            "magic": HELLO_MAGIC,
            "major": hello.version[0],
            "minor": hello.version[1],
            "purpose": PURPOSES[hello.purpose],
            "node_id": hello.node_id,
            "nonce": hello.nonce,
        }
    )


def decode_hello(payload: bytes) -> Hello:
    """Read the first message.

    @raise RemoteProtocolError: when it is none.
    """
    try:
        fields = HELLO.parse(payload)
    except ConstructError as error:
        raise RemoteProtocolError(WHERE, "hello is cut short") from error
    purpose = _PURPOSE_NAMES.get(fields.purpose)
    if purpose is None:
        raise RemoteProtocolError(WHERE, f"purpose {fields.purpose}")
    return Hello((fields.major, fields.minor), purpose, fields.node_id, fields.nonce)


def hello_version(payload: bytes) -> Version:
    """The version in a hello; its first six bytes are the same in every version.

    @raise RemoteProtocolError: when it is no hello.
    """
    if len(payload) < 6 or payload[:4] != HELLO_MAGIC:
        raise RemoteProtocolError(WHERE, "not a hello")
    return payload[4], payload[5]


def challenge_version(payload: bytes) -> Version:
    """The version in a challenge; its first two bytes are the same in every version.

    @raise RemoteProtocolError: when it is cut short.
    """
    if len(payload) < 2:
        raise RemoteProtocolError(WHERE, "challenge is cut short")
    return payload[0], payload[1]


def encode_challenge(challenge: Challenge) -> bytes:
    """Payload of the second message."""
    return CHALLENGE.build(
        {
            "major": challenge.version[0],
            "minor": challenge.version[1],
            "node_id": challenge.node_id,
            "nonce": challenge.nonce,
        }
    )


def decode_challenge(payload: bytes) -> Challenge:
    """Read the second message.

    @raise RemoteProtocolError: when it is none.
    """
    try:
        fields = CHALLENGE.parse(payload)
    except ConstructError as error:
        raise RemoteProtocolError(WHERE, "challenge is cut short") from error
    return Challenge((fields.major, fields.minor), fields.node_id, fields.nonce)


def encode_features(features: Iterable[str]) -> bytes:
    """Features in their one order.

    @raise ValueError: when there are too many or one is not C{[a-z0-9-]{1,32}}.
    """
    encoded: list[bytes | bytearray] = sorted(feature.encode("ascii") for feature in features)
    if len(encoded) > MAX_FEATURES or not all(_FEATURE.fullmatch(feature) for feature in encoded):
        raise ValueError("features are at most 32 words of a-z 0-9 -")
    return FEATURES.build(encoded)


def decode_features(data: bytes) -> frozenset[str]:
    """Read features.

    @raise RemoteProtocolError: when they are cut short, too many or no words.
    """
    try:
        features = FEATURES.parse(data)
    except ConstructError as error:
        raise RemoteProtocolError(WHERE, "features are cut short") from error
    if len(features) > MAX_FEATURES or not all(_FEATURE.fullmatch(feature) for feature in features):
        raise RemoteProtocolError(WHERE, "features are not words")
    return frozenset(feature.decode("ascii") for feature in features)


def mac_input(label: bytes, hello: bytes, challenge: bytes, channel_binding: bytes, tail: bytes) -> bytes:
    """What a proof is computed over: each argument after its length in 32 bits.

    @param hello, challenge: payloads of the first two messages exactly as sent.
    @param channel_binding: of the TLS connection below, empty without.
    @param tail: what follows the proof in its own message (the features).
    """
    fields = (label, hello, challenge, channel_binding, tail)
    return b"".join([struct.pack(">I", len(item)) + item for item in fields])


def proof(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) of L{mac_input} under a derived key."""
    return hmac.digest(key, data, "sha256")


def matching_key(keys: Sequence[bytes], data: bytes, claimed: bytes) -> bytes | None:
    """The key under which C{claimed} proves C{data}; every key is tried, each compared in constant time."""
    found = None
    for key in keys:
        if hmac.compare_digest(proof(key, data), claimed) and found is None:
            found = key
    return found


def agree(ours: Version, theirs: Version) -> Version:
    """The version both speak.

    @raise RemoteProtocolError: when the majors differ; names both.
    """
    if ours[0] != theirs[0]:
        raise RemoteProtocolError(
            WHERE, f"this node speaks M4F {ours[0]}.{ours[1]}, the peer {theirs[0]}.{theirs[1]}"
        )
    return min(ours, theirs)
