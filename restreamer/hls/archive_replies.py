"""A playlist of an archive as an answer: compressed where the client takes that, long ones piece by piece.

What is compressed is put together from pieces that were compressed before. A token is one viewer's, so with
it a long playlist is written for that viewer alone, a piece in each turn of the reactor and no faster than it
is taken; its pieces are kept for a while, so that loading a list that grows again costs what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from restreamer.hls.answers import CORS, PLAYLIST_TYPE, with_token
from restreamer.hls.archive_body import (
    WORTH,
    Packed,
    crc_of,
    gzipped,
    gzipped_pieces,
    size_of,
    texts,
)
from restreamer.hls.archive_playlists import Listing
from restreamer.http1.coding import takes_gzip
from restreamer.http1.reply import ChunkedReply, ChunkWriter, FullReply, HttpRequest, Reply
from restreamer.logs import Logger
from restreamer.seams import Clock, Timer
from restreamer.vod.keep import Kept

_log = Logger()

#: Bytes of text up to which an answer is one body.
SHORT: Final = 512 * 1024
#: Bytes written and not sent yet, from which on nothing is written; seconds until that is looked at again.
AHEAD: Final = 256 * 1024
AGAIN: Final = 0.02
#: Bytes of compressed answers kept, and how many.
_KEPT_BYTES: Final = 16 * 1024 * 1024
_KEPT: Final = 1000
#: The same of pieces with the token of a viewer: a week of 2 s segments has 168 of them and 2 MB.
_OWN_BYTES: Final = 64 * 1024 * 1024
_OWN: Final = 20_000
#: What is one viewer's is compressed fast rather than well.
OWN_LEVEL: Final = 1
_GZIP: Final = b"Content-Encoding: gzip\r\n"
_VARY: Final = b"Vary: Accept-Encoding\r\n"


class ListReplies:
    """Makes answers of playlists. @param clock: for long ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zipped: Kept[int, tuple[Listing, FullReply]] = Kept(
            _KEPT_BYTES, _KEPT, lambda held: len(held[1].body)
        )
        self._packed: Kept[tuple[int, str], tuple[Packed, Packed]] = Kept(
            _OWN_BYTES, _OWN, lambda held: len(held[1].deflated) + 200
        )

    def reply(self, listing: Listing, request: HttpRequest, token: str) -> Reply:
        """The answer to C{request}."""
        size = size_of(listing.pieces)
        wants_gzip = takes_gzip(request) and size > WORTH
        if wants_gzip and not token:
            return self._shared(listing)
        headers = list_headers(listing.seconds, bool(token)) + (_GZIP if wants_gzip else b"")
        if size <= SHORT:
            body = b"".join(texts(listing.pieces))
            if token:
                body = with_token(body, token)
                if wants_gzip:
                    return FullReply(status=200, headers=headers, body=gzipped((body,)))
                return FullReply(status=200, headers=headers, body=body)
            return FullReply(status=200, headers=headers, body=body, etag=_etag(listing, size))

        def parts() -> Iterator[bytes]:
            if wants_gzip:
                return gzipped_pieces(self._own(piece, token) for piece in listing.pieces)
            return (with_token(text, token) if token else text for text in texts(listing.pieces))

        return ChunkedReply(
            headers=headers, start=lambda writer, ended: _Sending(parts(), writer, ended, self._clock).begin()
        )

    def forget(self) -> None:
        """Give the memory back."""
        self._zipped.clear()
        self._packed.clear()

    def _own(self, piece: Packed | bytes, token: str) -> Packed:
        """A piece with one viewer's token, compressed: kept for when he loads the list again."""
        if isinstance(piece, bytes):
            return Packed.of(with_token(piece, token), OWN_LEVEL)
        key = (id(piece), token)
        held = self._packed.get(key)
        if held is None or held[0] is not piece:
            held = (piece, Packed.of(with_token(piece.text(), token), OWN_LEVEL))
            self._packed.put(key, held)
        return held[1]

    def _shared(self, listing: Listing) -> FullReply:
        """The compressed answer for all viewers without a token."""
        held = self._zipped.get(id(listing))
        if held is not None and held[0] is listing:
            return held[1]
        reply = FullReply(
            status=200,
            headers=list_headers(listing.seconds, private=False) + _GZIP,
            body=gzipped(listing.pieces),
            etag=f'{_etag(listing, size_of(listing.pieces))[:-1]}-gz"',
        )
        self._zipped.put(id(listing), (listing, reply))
        return reply


class _Sending:
    """Writes a long body, a part in each turn of the reactor, as fast as it is taken."""

    def __init__(
        self, parts: Iterator[bytes], writer: ChunkWriter, ended: Callable[[str], None], clock: Clock
    ) -> None:
        self._parts = parts
        self._writer = writer
        self._ended = ended
        self._clock = clock
        self._turn: Timer | None = None

    def begin(self) -> Callable[[], None]:
        """Begin; gives what stops it."""
        self._go_on()
        return self._stop

    def _go_on(self) -> None:
        self._turn = None
        wait = AGAIN
        if self._writer.waiting < AHEAD:
            try:
                part = next(self._parts, None)
            except Exception:
                _log.failure("a list of an archive could not be written")
                self._ended("internal error")
                return
            if part is None:
                self._ended("")
                return
            self._writer.write(part)
            wait = 0.0
        self._turn = self._clock.callLater(wait, self._go_on)

    def _stop(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None


def list_headers(seconds: int, private: bool) -> bytes:
    """The head of a playlist that caches may keep for so long. @param private: it is one viewer's."""
    kept = b"%smax-age=%d" % (b"private, " if private else b"", seconds) if seconds else b"no-store"
    return PLAYLIST_TYPE + b"Cache-Control: " + kept + b"\r\n" + CORS + _VARY


def _etag(listing: Listing, size: int) -> str:
    return f'"{crc_of(listing.pieces):08x}-{size:x}"'
