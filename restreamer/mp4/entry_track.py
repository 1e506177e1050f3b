"""The track of a sample entry, with what the codec's own configuration and the first sample say."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from restreamer.errors import MediaError
from restreamer.media import av1, h264, hevc
from restreamer.media.aac import aac_track
from restreamer.media.ac3 import ac3_track
from restreamer.media.av1 import av1_track, av1c_from_sequence_header
from restreamer.media.h264 import split_nals
from restreamer.media.mp3 import mpeg_audio_track
from restreamer.media.mpeg2 import mpeg2_track, sequence_header
from restreamer.media.opus import opus_track
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.media.track import AAC, AC3, AV1, EAC3, H264, HEVC, MP3, MPEG2, OPUS, VP9, Track, TrackKind
from restreamer.media.vp9 import vp9_track
from restreamer.mp4.sample_entry import SampleEntry

#: Gives the first sync sample, NAL units behind 4-byte lengths; called only when it is needed.
FirstSample = Callable[[], bytes]

_VIDEO = frozenset((H264, HEVC, AV1, VP9, MPEG2))


def track_of(entry: SampleEntry, first_sample: FirstSample, frame_rate: int = 0) -> Track:
    """The track, with id 1, that C{entry} describes.

    @param frame_rate: frames/s times 1000, by the sample table.
    @raise MediaError: its configuration is bad, or nowhere to be found.
    """
    if entry.codec in _VIDEO:
        video = _video(entry, first_sample)
        return evolve(
            video,
            width=video.width or entry.width,
            height=video.height or entry.height,
            frame_rate=frame_rate or video.frame_rate,
        )
    return _audio(entry, first_sample)


def _video(entry: SampleEntry, first_sample: FirstSample) -> Track:
    config = entry.config
    if entry.codec == H264:
        return h264.h264_track(1, config or _avcc_in_band(first_sample()))
    if entry.codec == HEVC:
        return hevc.hevc_track(1, config or _hvcc_in_band(first_sample()))
    if entry.codec == VP9:
        return vp9_track(1, config)
    if entry.codec == AV1:
        try:
            return av1_track(1, config)
        except MediaError:
            return av1_track(1, _av1c_in_band(first_sample()))
    return mpeg2_track(1, config if sequence_header(config) else first_sample())


def _audio(entry: SampleEntry, first_sample: FirstSample) -> Track:
    if entry.codec == AAC:
        audio = aac_track(1, entry.config)
        return evolve(audio, channels=audio.channels or entry.channels)
    if entry.codec == OPUS:
        return opus_track(1, entry.config)
    plain = Track(
        track_id=1,
        kind=TrackKind.AUDIO,
        codec=entry.codec,
        config=entry.config,
        timescale=entry.sample_rate or TICKS_PER_SECOND,
        sample_rate=entry.sample_rate,
        channels=entry.channels,
    )
    try:
        if entry.codec in (AC3, EAC3):
            # The box may tell of more than the frame does (extensions of E-AC-3), so it stays.
            return evolve(ac3_track(1, first_sample()), codec=entry.codec, config=entry.config)
        if entry.codec == MP3:
            return mpeg_audio_track(1, first_sample())
    except MediaError:
        pass
    return plain


def _nals(sample: bytes) -> list[bytes]:
    return [sample[start : start + length] for start, length in split_nals(sample)]


def _avcc_in_band(sample: bytes) -> bytes:
    nals = _nals(sample)
    sets = ([nal for nal in nals if nal[0] & 0x1F == kind] for kind in (h264.NAL_SPS, h264.NAL_PPS))
    return h264.avcc_from_sets(*sets)


def _hvcc_in_band(sample: bytes) -> bytes:
    nals = _nals(sample)
    kinds = (hevc.NAL_VPS, hevc.NAL_SPS, hevc.NAL_PPS)
    return hevc.hvcc_from_sets(*([nal for nal in nals if hevc.nal_type(nal) == kind] for kind in kinds))


def _av1c_in_band(sample: bytes) -> bytes:
    for obu in av1.split_obus(sample):
        if av1.obu_type(obu) == av1.SEQUENCE_HEADER:
            return av1c_from_sequence_header(obu)
    raise MediaError("an AV1 track has no sequence header")
