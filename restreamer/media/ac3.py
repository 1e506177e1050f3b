"""AC-3 and E-AC-3: sync frames and the boxes dac3 and dec3.

Sections are those of ETSI TS 102 366: 4.3 and 4.4 for AC-3, E.1.2 for E-AC-3, F.4 and F.6 for the boxes.

An AC-3 frame is one sync frame of 1536 samples. An E-AC-3 access unit is as many sync frames as make 1536
samples, with the dependent substreams that add channels.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from restreamer.errors import MediaError
from restreamer.media.bits import BitReader
from restreamer.media.track import AC3, EAC3, Track, TrackKind

SYNC: Final = b"\x0b\x77"
#: Bytes that L{parse_sync_frame} needs to tell a frame's size.
HEADER_SIZE: Final = 7
#: Samples of an access unit.
SAMPLES: Final = 1536

_HEADER_BYTES: Final = 16
_RATES: Final = (48_000, 44_100, 32_000)
_KBITS: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
#: Words of a frame per kbit/s at 48 and 32 kHz.
_WORDS: Final = {0: 2, 2: 3}
#: Full-range channels by acmod.
_CHANNELS: Final = (2, 1, 2, 3, 3, 4, 4, 5)
_BLOCKS: Final = (1, 2, 3, 6)
_BLOCK_SAMPLES: Final = 256
_DEPENDENT: Final = 1
#: chanmap bits, most significant first, that mean a pair: Lc/Rc, Lrs/Rrs, Lsd/Rsd, Lw/Rw, Lvh/Rvh, Lts/Rts.
_PAIRS: Final = 1 << 10 | 1 << 9 | 1 << 6 | 1 << 5 | 1 << 4 | 1 << 2
#: chanmap bits of channels that the independent substream does not have: all but L C R Ls Rs and LFE.
_ADDED: Final = 0x07FE


@frozen(kw_only=True)
class SyncFrame:
    """The header of one sync frame.

    @ivar enhanced: E-AC-3. @ivar size: bytes. @ivar rate: Hz; @ivar samples: per channel.
    @ivar rate_code: fscod. @ivar bsid, bsmod, acmod: as written, bsmod is 0 in E-AC-3. @ivar lfe: has LFE.
    @ivar bitrate_code: of AC-3, frmsizecod without its last bit. @ivar stream_type, substream: of E-AC-3:
        strmtyp (1 is dependent) and substreamid. @ivar channel_map: chanmap of a dependent one, or 0.
    """

    enhanced: bool
    size: int
    rate: int
    samples: int
    rate_code: int
    bsid: int
    bsmod: int
    acmod: int
    lfe: bool
    bitrate_code: int = 0
    stream_type: int = 0
    substream: int = 0
    channel_map: int = 0

    @property
    def channels(self) -> int:
        """Speakers of this sync frame alone."""
        return _CHANNELS[self.acmod] + self.lfe

    @property
    def begins_unit(self) -> bool:
        """Whether an access unit may begin with it: AC-3, or the first independent substream."""
        return self.stream_type != _DEPENDENT and not self.substream


def parse_sync_frame(data: bytes) -> SyncFrame:
    """Read the header of the sync frame at the beginning of C{data}, of either kind.

    @raise MediaError: shorter than L{HEADER_SIZE}, no syncword, or a reserved value.
    """
    if len(data) < HEADER_SIZE or not data.startswith(SYNC):
        raise MediaError("no AC-3 sync frame")
    bsid = data[5] >> 3
    if bsid > 16:
        raise MediaError(f"AC-3 bsid {bsid}")
    bits = BitReader(data[2:_HEADER_BYTES])
    return _enhanced(bits, bsid) if bsid > 10 else _plain(bits, bsid)


def _plain(bits: BitReader, bsid: int) -> SyncFrame:
    bits.skip(16)
    rate_code, size_code = bits.read(2), bits.read(6)
    if rate_code == 3 or size_code >> 1 >= len(_KBITS):
        raise MediaError(f"AC-3 fscod {rate_code}, frmsizecod {size_code}")
    kbits = _KBITS[size_code >> 1]
    words = kbits * _WORDS[rate_code] if rate_code in _WORDS else 320 * kbits // 147 + (size_code & 1)
    bits.skip(5)
    bsmod, acmod = bits.read(3), bits.read(3)
    if acmod & 1 and acmod != 1:
        bits.skip(2)
    if acmod & 4:
        bits.skip(2)
    if acmod == 2:
        bits.skip(2)
    return SyncFrame(
        enhanced=False,
        size=2 * words,
        rate=_RATES[rate_code] >> max(bsid - 8, 0),
        samples=SAMPLES,
        rate_code=rate_code,
        bsid=bsid,
        bsmod=bsmod,
        acmod=acmod,
        lfe=bits.flag(),
        bitrate_code=size_code >> 1,
    )


def _enhanced(bits: BitReader, bsid: int) -> SyncFrame:
    stream_type, substream, size = bits.read(2), bits.read(3), 2 * (bits.read(11) + 1)
    rate_code = bits.read(2)
    if rate_code == 3:
        half = bits.read(2)
        if half == 3:
            raise MediaError("E-AC-3 fscod2 3")
        rate, blocks = _RATES[half] // 2, 6
    else:
        rate, blocks = _RATES[rate_code], _BLOCKS[bits.read(2)]
    if stream_type == 3 or size < HEADER_SIZE:
        raise MediaError(f"E-AC-3 strmtyp {stream_type}, {size} bytes")
    acmod, lfe = bits.read(3), bits.flag()
    return SyncFrame(
        enhanced=True,
        size=size,
        rate=rate,
        samples=blocks * _BLOCK_SAMPLES,
        rate_code=rate_code,
        bsid=bsid,
        bsmod=0,
        acmod=acmod,
        lfe=lfe,
        stream_type=stream_type,
        substream=substream,
        channel_map=_channel_map(bits, acmod) if stream_type == _DEPENDENT else 0,
    )


def _channel_map(bits: BitReader, acmod: int) -> int:
    """chanmap, behind dialnorm and compr (section E.1.2.2), 0 when it is not there."""
    try:
        bits.skip(5)
        for _ in range(2 if acmod == 0 else 1):
            bits.skip(5)
            if bits.flag():
                bits.skip(8)
        return bits.read(16) if bits.flag() else 0
    except MediaError:
        return 0


def frame_sizes(data: bytes) -> list[int]:
    """Bytes of each sync frame in C{data}, which they fill exactly.

    @raise MediaError: they do not, or one is bad.
    """
    return [head.size for head in sync_frames(data)]


def sync_frames(data: bytes) -> list[SyncFrame]:
    """The headers of the sync frames that fill C{data}.

    @raise MediaError: they do not fill it exactly, or one is bad.
    """
    found = []
    at = 0
    while at < len(data):
        head = parse_sync_frame(data[at : at + _HEADER_BYTES])
        at += head.size
        found.append(head)
    if at != len(data) or not found:
        raise MediaError(f"AC-3 frames of {at} bytes in {len(data)}")
    return found


def _dac3(head: SyncFrame) -> bytes:
    """Section F.4."""
    value = head.rate_code << 22 | head.bsid << 17 | head.bsmod << 14 | head.acmod << 11 | head.lfe << 10
    return (value | head.bitrate_code << 5).to_bytes(3, "big")


def _dec3(heads: list[SyncFrame]) -> bytes:
    """Section F.6: a row for each independent substream, with how many dependent ones follow it."""
    own = [head for head in heads if head.stream_type != _DEPENDENT]
    ids = sorted({head.substream for head in own})
    samples = sum(head.samples for head in own if head.substream == ids[0])
    kbits = sum(head.size for head in heads) * 8 * own[0].rate // (samples * 1000)
    out = (min(kbits, 0x1FFF) << 3 | len(ids) - 1).to_bytes(2, "big")
    current = ids[0]
    following: dict[int, dict[int, int]] = {number: {} for number in ids}
    for head in heads:
        if head.stream_type == _DEPENDENT:
            following[current][head.substream] = head.channel_map
        else:
            current = head.substream
    for number in ids:
        head = next(each for each in own if each.substream == number)
        row = head.rate_code << 14 | head.bsid << 9 | head.bsmod << 4 | head.acmod << 1 | head.lfe
        out += row.to_bytes(2, "big")
        dependent = following[number]
        if not dependent:
            out += b"\x00"
            continue
        added = 0
        for channel_map in dependent.values():
            added |= (channel_map >> 3 & 0xFF) << 1 | channel_map >> 1 & 1
        out += (min(len(dependent), 15) << 9 | added).to_bytes(2, "big")
    return out


def ac3_track(track_id: int, first_frame: bytes, bandwidth: int = 0) -> Track:
    """The track of a stream, AC-3 or E-AC-3, that begins with the access unit C{first_frame}.

    @raise MediaError: as L{sync_frames}, or it does not begin with an independent substream.
    """
    heads = sync_frames(first_frame)
    first = heads[0]
    if not first.begins_unit:
        raise MediaError("an E-AC-3 access unit begins with a dependent substream")
    channels = first.channels
    dependent = {head.substream: head.channel_map for head in heads if head.stream_type == _DEPENDENT}
    for channel_map in dependent.values():
        added = channel_map & _ADDED
        channels += added.bit_count() + (added & _PAIRS).bit_count()
    return Track(
        track_id=track_id,
        kind=TrackKind.AUDIO,
        codec=EAC3 if first.enhanced else AC3,
        config=_dec3(heads) if first.enhanced else _dac3(first),
        timescale=first.rate,
        sample_rate=first.rate,
        channels=channels,
        bandwidth=bandwidth,
    )
