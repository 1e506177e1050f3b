"""onMetaData, both ways: FLV specification annex E.5; Enhanced RTMP v2, "Enhancing onMetaData" (pure)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from restreamer.flv.amf0 import EcmaArray
from restreamer.flv.bodies import TrackForm
from restreamer.media.track import AAC, ALAW, H264, MP3, ULAW, TrackKind

#: Legacy codec ids, as onMetaData names them.
CODEC_IDS: Final = {H264: 7, AAC: 10, MP3: 2, ALAW: 7, ULAW: 8}
SENDER: Final = "restreamer"

#: Largest believable data rate in kbit/s.
_MAX_RATE: Final = 1_000_000.0
_MAX_TRACKS: Final = 32
_MAX_SIZE: Final = 16_384
_LANGUAGE: Final = re.compile(r"[a-z]{3}")
_KINDS: Final = {
    TrackKind.VIDEO: ("videocodecid", "videodatarate", "videoTrackIdInfoMap"),
    TrackKind.AUDIO: ("audiocodecid", "audiodatarate", "audioTrackIdInfoMap"),
}

#: A track of a publisher: its kind and its number within the kind, 0 for the default track.
TrackKey = tuple[TrackKind, int]


def metadata(forms: Iterable[TrackForm], title: str) -> EcmaArray:
    """The members of onMetaData; what is not known is left out."""
    found: dict[str, Any] = {"title": title, "encoder": SENDER}
    others: dict[TrackKind, dict[str, Any]] = {TrackKind.VIDEO: {}, TrackKind.AUDIO: {}}
    for form in forms:
        if form.number:
            others[form.track.kind][str(form.number)] = _known(_facts(form, multitrack=True))
        else:
            found.update(_facts(form, multitrack=False))
    for kind, members in others.items():
        if members:
            found[_KINDS[kind][2]] = members
    return EcmaArray(_known(found))


def _known(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value or value is False}


def _facts(form: TrackForm, multitrack: bool) -> dict[str, Any]:
    track = form.track
    codec = int.from_bytes(track.codec.encode("ascii"), "big") if form.fourcc else CODEC_IDS[track.codec]
    language = "" if track.language == "und" else track.language
    if track.kind is TrackKind.VIDEO:
        return {
            "videocodecid": codec,
            "videodatarate": track.bandwidth / 1000,
            "width": track.width,
            "height": track.height,
            "framerate": track.frame_rate / 1000,
            **({"language": language} if multitrack else {}),
        }
    facts: dict[str, Any] = {
        "audiocodecid": codec,
        "audiodatarate": track.bandwidth / 1000,
        "audiosamplerate": track.sample_rate,
        "audiosamplesize": 16,
        "audiochannels": track.channels,
        "stereo": track.channels > 1,
        "audiolanguage": language,
    }
    if multitrack:
        facts.update(samplerate=track.sample_rate, channels=track.channels, language=language)
    return facts


@define
class Promise:
    """What a publisher's onMetaData says of the tracks to come.

    @ivar tracks: those it names. @ivar rates: bits/s of those whose rate it tells.
    @ivar languages: ISO 639-2/T, of those whose language it tells. @ivar sizes: width and height in pixels.
    """

    tracks: set[TrackKey] = field(factory=set)
    rates: dict[TrackKey, int] = field(factory=dict)
    languages: dict[TrackKey, str] = field(factory=dict)
    sizes: dict[TrackKey, tuple[int, int]] = field(factory=dict)


def promised(members: Mapping[str, Any]) -> Promise:
    """Read the members of onMetaData; what is absurd is as if it were not there."""
    promise = Promise()
    for kind, (codec, rate, tracks) in _KINDS.items():
        if isinstance(members.get(codec), int | float | str):
            promise.tracks.add((kind, 0))
        _note(promise, (kind, 0), members, rate, members.get("audiolanguage"))
        listed = members.get(tracks)
        if not isinstance(listed, Mapping):
            continue
        for name, facts in list(listed.items())[:_MAX_TRACKS]:
            if isinstance(name, str) and name.isascii() and name.isdecimal() and 0 < int(name[:4]) < 256:
                key = kind, int(name[:4])
                promise.tracks.add(key)
                if isinstance(facts, Mapping):
                    _note(promise, key, facts, rate, facts.get("language"))
    return promise


def _note(promise: Promise, key: TrackKey, members: Mapping[str, Any], rate: str, language: object) -> None:
    value = members.get(rate)
    if isinstance(value, int | float) and math.isfinite(value) and 0 < value <= _MAX_RATE:
        promise.rates[key] = int(value * 1000)
    size = _pixels(members.get("width")), _pixels(members.get("height"))
    if key[0] is TrackKind.VIDEO and all(size):
        promise.sizes[key] = size
    if key[0] is TrackKind.AUDIO and isinstance(language, str) and _LANGUAGE.fullmatch(language):
        promise.languages[key] = language


def _pixels(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value <= _MAX_SIZE else 0
