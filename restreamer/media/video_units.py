"""From the pieces of elementary video streams to access units in the form frames have, and their tracks.

Parameter sets that come with a keyframe belong to the track and leave the access unit, as do delimiters: what
is stored is the same whichever way a stream came in. Sets between keyframes stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, evolve
from typing_extensions import override

from restreamer.errors import MediaError
from restreamer.media import av1, h264, hevc, mpeg2, vp9
from restreamer.media.bits import BitReader
from restreamer.media.h264_fields import Field, FieldSets, field_of, field_sets
from restreamer.media.h264_sps import unescape
from restreamer.media.track import Track

_I_SLICES: Final = (2, 7)
_RECOVERY_POINT: Final = 6
_SLICE_HEAD: Final = 12
_MAX_SETS: Final = 64


@define(eq=False)
class Unit:
    """One access unit.

    @ivar data: as in L{restreamer.media.frame.Frame}. @ivar key: a random access point.
    @ivar track: given with the first unit, and whenever the track's description changed.
    @ivar field: of H.264: it is one field of a frame (L{restreamer.media.paired_units}).
    """

    data: bytes
    key: bool
    track: Track | None = None
    field: Field | None = None


class _NalUnits:
    """What H.264 and HEVC have in common.

    @ivar track: the track as it is known, None before the first parameter sets.
    """

    _set_kinds: tuple[int, ...]
    _delimiter: int

    def __init__(self, track_id: int, config: bytes = b"", language: str = "und") -> None:
        """@param config: a configuration record known beforehand (from SDP); a bad one is as good as none."""
        self._track_id = track_id
        self._language = language
        self.track: Track | None = None
        self._told = False
        self._known: dict[int, tuple[bytes, ...]] = {}
        self._pending: list[bytes] = []
        if config:
            try:
                self._known = self._sets_of(config)
                self.track = self._make(config)
            except MediaError:
                self._known = {}

    def unit(self, nals: Sequence[bytes]) -> Unit | None:
        """The access unit of C{nals}, whole NAL units without start codes or lengths.

        @return: None for one without slices (its parameter sets are kept for the next), and for all that come
            before the first parameter sets.
        """
        kind_of = self._kind
        kinds = 0
        for nal in nals:
            if nal:
                kinds |= 1 << kind_of(nal)
        if not self._has_slice(kinds):
            self._pending = [nal for nal in nals if nal and kind_of(nal) in self._set_kinds][:_MAX_SETS]
            return None
        if self._pending:
            nals = [*self._pending, *nals]
            for nal in self._pending:
                kinds |= 1 << kind_of(nal)
            self._pending = []
        key = self._is_key(kinds, nals)
        sets = any(kinds >> kind & 1 for kind in self._set_kinds)
        take = sets and (key or self.track is None) and self._update(nals)
        if self.track is None:
            return None
        left_out = (self._delimiter, *self._set_kinds) if take else (self._delimiter,)
        parts = []
        for nal in nals:
            if nal and kind_of(nal) not in left_out:
                parts.append(len(nal).to_bytes(4, "big"))
                parts.append(nal)
        track = None if self._told else self.track
        self._told = True
        return Unit(b"".join(parts), key, track, self._field_of(nals))

    def _field_of(self, nals: Sequence[bytes]) -> Field | None:
        """The field an access unit is; None for all others."""
        return None

    def _update(self, nals: Sequence[bytes]) -> bool:
        """Take the parameter sets among C{nals} into the track.

        @return: the track holds them now; False when they make no configuration.
        """
        found = {
            kind: tuple(dict.fromkeys(nal for nal in nals if nal and self._kind(nal) == kind))
            for kind in self._set_kinds
        }
        if all(found.values()):
            sets = found
        else:
            # Some kinds were left out: those that came before hold on.
            sets = {kind: found[kind] or self._known.get(kind, ()) for kind in self._set_kinds}
        if sets == self._known:
            return True
        try:
            track = self._make(self._record(sets))
        except MediaError:
            return False
        self._known = sets
        if track != self.track:
            self.track = track
            self._told = False
        return True

    def _kind(self, nal: bytes) -> int:
        raise NotImplementedError

    def _has_slice(self, kinds: int) -> bool:
        raise NotImplementedError

    def _is_key(self, kinds: int, nals: Sequence[bytes]) -> bool:
        raise NotImplementedError

    def _sets_of(self, config: bytes) -> dict[int, tuple[bytes, ...]]:
        raise NotImplementedError

    def _record(self, sets: dict[int, tuple[bytes, ...]]) -> bytes:
        raise NotImplementedError

    def _make(self, config: bytes) -> Track:
        raise NotImplementedError


class H264Units(_NalUnits):
    """Access units of H.264 from NAL units.

    A keyframe is one with an IDR slice, with a recovery point at the picture itself (open GOPs), or of I
    slices alone behind an SPS (broadcast encoders that send neither).
    """

    _set_kinds = (h264.NAL_SPS, h264.NAL_PPS)
    _delimiter = h264.NAL_AUD
    _fields = FieldSets({})

    @override
    def _kind(self, nal: bytes) -> int:
        return nal[0] & 0x1F

    @override
    def _has_slice(self, kinds: int) -> bool:
        return bool(kinds & 0b111110)

    @override
    def _is_key(self, kinds: int, nals: Sequence[bytes]) -> bool:
        if kinds >> h264.NAL_IDR & 1:
            return True
        if kinds >> h264.NAL_SEI & 1 and any(_recovers(nal) for nal in nals if nal):
            return True
        if not kinds >> h264.NAL_SPS & 1:
            return False
        slices = [nal for nal in nals if nal and 1 <= nal[0] & 0x1F <= 5]
        return all(_slice_type(nal) in _I_SLICES for nal in slices)

    @override
    def _sets_of(self, config: bytes) -> dict[int, tuple[bytes, ...]]:
        parsed = h264.parse_avcc(config)
        return {h264.NAL_SPS: parsed.sps, h264.NAL_PPS: parsed.pps}

    @override
    def _record(self, sets: dict[int, tuple[bytes, ...]]) -> bytes:
        return h264.avcc_from_sets(sets[h264.NAL_SPS], sets[h264.NAL_PPS])

    @override
    def _make(self, config: bytes) -> Track:
        track = evolve(h264.h264_track(self._track_id, config), language=self._language)
        sets = h264.parse_avcc(config)
        self._fields = field_sets(sets.sps, sets.pps)
        return track

    @override
    def _field_of(self, nals: Sequence[bytes]) -> Field | None:
        return field_of(self._fields, nals)


def _slice_type(nal: bytes) -> int:
    """slice_type of a slice (ISO/IEC 14496-10 section 7.3.3), -1 when it cannot be read."""
    bits = BitReader(nal[1:_SLICE_HEAD])
    try:
        bits.ue()
        return bits.ue()
    except MediaError:
        return -1


def _recovers(nal: bytes) -> bool:
    """Whether C{nal} is an SEI with a recovery point of 0 frames (ISO/IEC 14496-10 section D.1.8)."""
    if nal[0] & 0x1F != h264.NAL_SEI:
        return False
    data = unescape(nal)
    at = 1
    while at + 2 <= len(data) - 1:
        kind = size = 0
        while data[at] == 0xFF and at < len(data) - 1:
            kind += 255
            at += 1
        kind += data[at]
        at += 1
        while at < len(data) - 1 and data[at] == 0xFF:
            size += 255
            at += 1
        size += data[at] if at < len(data) else 0
        at += 1
        if kind == _RECOVERY_POINT:
            # recovery_frame_cnt is ue(v): 0 is one bit, set.
            return at < len(data) and data[at] >> 7 == 1
        at += size
    return False


class HevcUnits(_NalUnits):
    """Access units of HEVC from NAL units; a keyframe is a random access picture (IDR, CRA, BLA)."""

    _set_kinds = (hevc.NAL_VPS, hevc.NAL_SPS, hevc.NAL_PPS)
    _delimiter = hevc.NAL_AUD

    @override
    def _kind(self, nal: bytes) -> int:
        return nal[0] >> 1 & 0x3F

    @override
    def _has_slice(self, kinds: int) -> bool:
        return bool(kinds & (1 << hevc.NAL_NO_SLICE) - 1)

    @override
    def _is_key(self, kinds: int, nals: Sequence[bytes]) -> bool:
        return bool(kinds & hevc.IRAP_TYPES)

    @override
    def _sets_of(self, config: bytes) -> dict[int, tuple[bytes, ...]]:
        parsed = hevc.parse_hvcc(config)
        return {hevc.NAL_VPS: parsed.vps, hevc.NAL_SPS: parsed.sps, hevc.NAL_PPS: parsed.pps}

    @override
    def _record(self, sets: dict[int, tuple[bytes, ...]]) -> bytes:
        return hevc.hvcc_from_sets(sets[hevc.NAL_VPS], sets[hevc.NAL_SPS], sets[hevc.NAL_PPS])

    @override
    def _make(self, config: bytes) -> Track:
        return evolve(hevc.hevc_track(self._track_id, config), language=self._language)


class _DescribedUnits:
    """Units whose keyframes describe themselves.

    @ivar track: the track as it is known, None before the first keyframe.
    """

    def __init__(self, track_id: int, language: str = "und") -> None:
        self._track_id = track_id
        self._language = language
        self.track: Track | None = None
        self._config = b""

    def _unit(self, data: bytes, key: bool, config: bytes, make: Callable[[], Track]) -> Unit | None:
        """The unit, with the track when C{config} is not what it was."""
        changed = None
        if config and config != self._config:
            try:
                changed = evolve(make(), language=self._language)
            except MediaError:
                pass
            else:
                self._config = config
                if changed == self.track:
                    changed = None
                else:
                    self.track = changed
        return None if self.track is None else Unit(data, key, changed)


class Av1Units(_DescribedUnits):
    """Temporal units of AV1 from OBUs, with or without their size fields."""

    def unit(self, obus: Sequence[bytes]) -> Unit | None:
        """The temporal unit of C{obus}; delimiters and padding are left out.

        @return: None before the first keyframe with a sequence header, and for one without a frame.
        @raise MediaError: an OBU is cut off.
        """
        left_out = (av1.TEMPORAL_DELIMITER, av1.TILE_LIST, av1.PADDING)
        kept = [obu for obu in obus if obu and av1.obu_type(obu) not in left_out]
        if not any(av1.obu_type(obu) in (av1.FRAME, av1.FRAME_HEADER) for obu in kept):
            return None
        key = av1.is_key(kept)
        header = next((obu for obu in kept if key and av1.obu_type(obu) == av1.SEQUENCE_HEADER), b"")
        return self._unit(
            av1.with_sizes(kept),
            key,
            header,
            lambda: av1.av1_track(self._track_id, av1.av1c_from_sequence_header(header)),
        )


class Vp9Units(_DescribedUnits):
    """Frames of VP9."""

    def unit(self, frame: bytes) -> Unit | None:
        """The frame or superframe as a unit; None before the first keyframe, and for an empty one."""
        if not frame:
            return None
        key = vp9.is_key(frame)
        # Whatever tells of profile, colours and size stands in the first bytes of a keyframe.
        return self._unit(frame, key, frame[1:11] if key else b"", lambda: self._make(frame))

    def _make(self, frame: bytes) -> Track:
        facts = vp9.parse_keyframe(frame)
        return vp9.vp9_track(
            self._track_id, vp9.vpcc_from_keyframe(frame), width=facts.width, height=facts.height
        )


class Mpeg2Units(_DescribedUnits):
    """Pictures of MPEG-2 video."""

    def unit(self, picture: bytes) -> Unit | None:
        """A picture (or the two fields of one) with all that stands before it.

        @return: None before the first sequence header, and for data without a picture.
        """
        at = picture.find(b"\x00\x00\x01\x00")
        if at < 0:
            return None
        key = mpeg2.is_key(picture)
        header = mpeg2.sequence_header(picture[:at]) if key else b""
        return self._unit(picture, key, header, lambda: mpeg2.mpeg2_track(self._track_id, header))
