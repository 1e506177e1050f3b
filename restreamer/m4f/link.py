"""One end of a link between two nodes, sans-IO: the handshake, then records both ways.

Contract: give every byte received to L{Link.receive} and carry out its events; after each call (and at the
start) write L{Link.data_to_send}. When C{receive} raises L{RemoteProtocolError}, write what is left in
C{data_to_send} (a refusal, at most) and close. The adapter bounds the time until L{Authorised}; a nonce lives
as long as its link object and is never used again.

States of the client: challenge awaited, proof awaited, open. States of the server: hello awaited, proof
awaited, open. A message that is not the awaited one ends the link. Until it is open a link holds at most one
handshake message of L{restreamer.m4f.handshake.MAX_MESSAGE} bytes, and gives and takes no record.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from attrs import frozen

from restreamer.errors import LocalProtocolError, RemoteProtocolError
from restreamer.m4f.handshake import (
    CLIENT_LABEL,
    MAX_MESSAGE,
    NONCE_SIZE,
    PROOF_SIZE,
    PURPOSES,
    SERVER_LABEL,
    VERSION,
    WHERE,
    Challenge,
    Hello,
    Version,
    agree,
    challenge_version,
    decode_challenge,
    decode_features,
    decode_hello,
    encode_challenge,
    encode_features,
    encode_hello,
    hello_version,
    mac_input,
    matching_key,
    proof,
)
from restreamer.m4f.record_layout import RECORD_HEAD_SIZE, RECORD_HEAD_STRUCT, RecordType
from restreamer.m4f.record_stream import RecordReader, encode_record, frame_record
from restreamer.m4f.record_values import NODE_ID_SIZE, Record

#: The one answer to whoever does not prove the key, whatever the cause.
NOT_AUTHORISED = "not authorised"


@frozen
class Authorised:
    """The peer proved the cluster key: records may flow.

    @ivar peer_version: what the peer speaks; @ivar version: what both speak (the lower minor).
    @ivar purpose: C{"control"}, C{"media"} or C{"file"}, as the client said.
    @ivar features: what both ends offer.
    """

    peer_node_id: bytes
    peer_version: Version
    purpose: str
    features: frozenset[str]
    version: Version = VERSION


Event = Authorised | Record


class _State(enum.Enum):
    HELLO_AWAITED = "hello awaited"
    CHALLENGE_AWAITED = "challenge awaited"
    CLIENT_PROOF_AWAITED = "client proof awaited"
    SERVER_PROOF_AWAITED = "server proof awaited"
    OPEN = "open"
    FAILED = "failed"


_AWAITED = {
    _State.HELLO_AWAITED: RecordType.HELLO,
    _State.CHALLENGE_AWAITED: RecordType.CHALLENGE,
    _State.CLIENT_PROOF_AWAITED: RecordType.CLIENT_PROOF,
    _State.SERVER_PROOF_AWAITED: RecordType.SERVER_PROOF,
}


class Link:
    """One end of a link.

    @param role: C{"client"} (who asked for the upgrade) or C{"server"}.
    @param node_id: this node's 16 bytes. @param nonce: 16 fresh random bytes, for this link alone.
    @param keys: derived keys (L{restreamer.m4f.handshake.derive_key}): a client proves the first, a server
        takes any (rotation).
    @param purpose: of a client: C{"control"}, C{"media"} or C{"file"}; a server hears it.
    @param version: what this end speaks. @param features: words this end offers.
    @param channel_binding: bytes of the TLS connection below, equal at both ends; empty without TLS.
    @raise ValueError: for parameters no link can have, an empty key among them.
    @ivar purpose: once known. @ivar authorised: the event, once it happened.
    """

    def __init__(
        self,
        role: str,
        node_id: bytes,
        keys: Sequence[bytes],
        nonce: bytes,
        purpose: str = "control",
        version: Version = VERSION,
        features: Iterable[str] = (),
        channel_binding: bytes = b"",
    ) -> None:
        if role not in ("client", "server") or purpose not in PURPOSES:
            raise ValueError("a link is a client's or a server's, for control, media or files")
        if not keys or not all(keys):
            raise ValueError("a link needs a key, and no key is empty")
        if len(node_id) != NODE_ID_SIZE or len(nonce) != NONCE_SIZE:
            raise ValueError(f"a node id is {NODE_ID_SIZE} bytes, a nonce {NONCE_SIZE}")
        self.role = role
        self.purpose = purpose
        self.authorised: Authorised | None = None
        self._node_id = node_id
        self._keys = tuple(keys)
        self._nonce = nonce
        self._version = version
        self._features = frozenset(features)
        self._features_sent = encode_features(self._features)
        self._binding = channel_binding
        self._hello = b""
        self._challenge = b""
        self._peer = b""
        self._peer_version = version
        self._failure: RemoteProtocolError | None = None
        self._buffer = bytearray()
        self._reader = RecordReader()
        self._out: list[bytes] = []
        if role == "server":
            self._state = _State.HELLO_AWAITED
        else:
            self._state = _State.CHALLENGE_AWAITED
            self._hello = encode_hello(Hello(version, purpose, node_id, nonce))
            self._out.append(frame_record(RecordType.HELLO, self._hello))

    @property
    def skipped(self) -> int:
        """Records of unknown type passed over so far."""
        return self._reader.skipped

    def data_to_send(self) -> bytes:
        """Take the bytes that wait to be written."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        self._out = []
        return data

    def send(self, record: Record) -> None:
        """Queue a record.

        @raise LocalProtocolError: before the peer is authorised, or when a field does not fit.
        """
        self.send_encoded(encode_record(record))

    def send_encoded(self, data: bytes) -> None:
        """Queue records encoded before (L{encode_record}), so that many links share one encoding.

        @raise LocalProtocolError: before the peer is authorised.
        """
        if self._state is not _State.OPEN:
            raise LocalProtocolError(f"no record may be sent: {self._state.value}")
        self._out.append(data)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the peer and give the events they complete.

        @raise RemoteProtocolError: the link has failed; calling again raises the same.
        """
        if self._failure is not None:
            raise self._failure
        try:
            if self._state is _State.OPEN:
                return [*self._reader.receive(data)]
            return self._shake_hands(data)
        except RemoteProtocolError as error:
            self._failure = error
            self._state = _State.FAILED
            self._buffer.clear()
            raise

    def _shake_hands(self, data: bytes) -> list[Event]:
        buffer = self._buffer
        buffer += data
        while self._state is not _State.OPEN:
            if len(buffer) < RECORD_HEAD_SIZE:
                return []
            record_type, _, length = RECORD_HEAD_STRUCT.unpack_from(buffer)
            if record_type == RecordType.REFUSAL and self.role == "client" and length <= MAX_MESSAGE:
                if len(buffer) < RECORD_HEAD_SIZE + length:
                    return []
                raise self._refused(bytes(buffer[RECORD_HEAD_SIZE : RECORD_HEAD_SIZE + length]))
            if record_type != _AWAITED[self._state] or length > MAX_MESSAGE:
                raise self._refuse(f"record {record_type} of {length} bytes, {self._state.value}")
            if len(buffer) < RECORD_HEAD_SIZE + length:
                return []
            payload = bytes(buffer[RECORD_HEAD_SIZE : RECORD_HEAD_SIZE + length])
            del buffer[: RECORD_HEAD_SIZE + length]
            self._take(payload)
        rest = bytes(buffer)
        buffer.clear()
        assert self.authorised is not None
        return [self.authorised, *self._reader.receive(rest)]

    def _take(self, payload: bytes) -> None:
        """Carry out the awaited handshake message."""
        if self._state is _State.HELLO_AWAITED:
            self._take_hello(payload)
        elif self._state is _State.CHALLENGE_AWAITED:
            self._take_challenge(payload)
        else:
            self._take_proof(payload)

    def _take_hello(self, payload: bytes) -> None:
        try:
            theirs = hello_version(payload)
        except RemoteProtocolError as error:
            raise self._refuse(error.what) from error
        try:
            agree(self._version, theirs)
        except RemoteProtocolError as error:
            self._out.append(frame_record(RecordType.REFUSAL, error.what.encode()))
            raise
        try:
            hello = decode_hello(payload)
        except RemoteProtocolError as error:
            raise self._refuse(error.what) from error
        self.purpose = hello.purpose
        self._hello = payload
        self._peer = hello.node_id
        self._peer_version = hello.version
        self._challenge = encode_challenge(Challenge(self._version, self._node_id, self._nonce))
        self._out.append(frame_record(RecordType.CHALLENGE, self._challenge))
        self._state = _State.CLIENT_PROOF_AWAITED

    def _take_challenge(self, payload: bytes) -> None:
        agree(self._version, challenge_version(payload))
        challenge = decode_challenge(payload)
        self._challenge = payload
        self._peer = challenge.node_id
        self._peer_version = challenge.version
        self._prove(CLIENT_LABEL, self._keys[0], RecordType.CLIENT_PROOF)
        self._state = _State.SERVER_PROOF_AWAITED

    def _take_proof(self, payload: bytes) -> None:
        claimed, tail = payload[:PROOF_SIZE], payload[PROOF_SIZE:]
        server = self.role == "server"
        label = CLIENT_LABEL if server else SERVER_LABEL
        data = mac_input(label, self._hello, self._challenge, self._binding, tail)
        key = matching_key(self._keys if server else self._keys[:1], data, claimed)
        if key is None:
            raise self._refuse("wrong proof: another cluster_key")
        try:
            features = decode_features(tail)
        except RemoteProtocolError as error:
            raise self._refuse(error.what) from error
        if server:
            self._prove(SERVER_LABEL, key, RecordType.SERVER_PROOF)
        self.authorised = Authorised(
            self._peer,
            self._peer_version,
            self.purpose,
            features & self._features,
            agree(self._version, self._peer_version),
        )
        self._state = _State.OPEN

    def _prove(self, label: bytes, key: bytes, record_type: RecordType) -> None:
        tail = self._features_sent
        data = mac_input(label, self._hello, self._challenge, self._binding, tail)
        self._out.append(frame_record(record_type, proof(key, data) + tail))

    def _refuse(self, cause: str) -> RemoteProtocolError:
        """Answer a stranger with the one text; the cause stays here, chained for whoever debugs."""
        if self.role == "server":
            self._out.append(frame_record(RecordType.REFUSAL, NOT_AUTHORISED.encode()))
        error = RemoteProtocolError(WHERE, NOT_AUTHORISED)
        error.__cause__ = RemoteProtocolError(WHERE, cause)
        return error

    def _refused(self, text: bytes) -> RemoteProtocolError:
        shown = "".join(c if c.isprintable() else "?" for c in text[:256].decode("utf-8", "replace"))
        hint = " (is cluster_key the same at both ends?)" if shown == NOT_AUTHORISED else ""
        return RemoteProtocolError(WHERE, f"the peer refuses: {shown}{hint}")
