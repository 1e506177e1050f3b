"""Digests of elementary streams, in a form that all containers agree on, for every codec.

Read by ffmpeg without decoding: NAL units as Annex B without parameter sets and delimiters (containers carry
those in different places), of HEVC without SEI too (a configuration record may hold some), raw AAC frames,
AV1 without temporal delimiters, everything else as it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

from attrs import frozen

from test.e2e.codec_samples import newer_ffmpeg
from test.e2e.samples import FFMPEG

_FILTERS: Final = {
    "h264": "h264_mp4toannexb,filter_units=remove_types=7-9",
    "hevc": "hevc_mp4toannexb,filter_units=remove_types=32-35|39",
    "av1": "av1_metadata=td=remove",
}


def elementary_digests(
    source: Path | str, track: str, codec: str, *, seconds: float = 0.0, options: tuple[str, ...] = ()
) -> list[str]:
    """MD5 of each packet of one track.

    @param source: a file or URL. @param track: C{v:0}, C{a:1} …; @param codec: ffmpeg's name of it.
    @param seconds: of media at most, 0 for all. @param options: input options.
    @raise AssertionError: ffmpeg cannot read it.
    """
    ffmpeg = newer_ffmpeg() or FFMPEG or "ffmpeg"
    command = [ffmpeg, "-v", "error", "-nostdin", *options, "-i", str(source), "-map", f"0:{track}"]
    if seconds:
        command += ["-t", str(seconds)]
    filters = _FILTERS.get(codec, "null")
    if codec == "aac" and _is_ts(source):
        filters = "aac_adtstoasc"
    command += ["-c", "copy", "-bsf", filters, "-f", "framehash", "-hash", "md5", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    if done.returncode:
        raise AssertionError(f"ffmpeg could not read {source}: {done.stderr.decode(errors='replace')[:2000]}")
    lines = [line for line in done.stdout.decode().splitlines() if line and not line.startswith("#")]
    # stream, dts, pts, duration, size, hash, then digests of side data if there is any
    return [line.split(",")[5].strip() for line in lines]


def _is_ts(source: Path | str) -> bool:
    # The last part alone: a folder made for a test may have any letters in its name.
    name = str(source).split("?")[0].rsplit("/", 1)[-1]
    return (name.endswith((".ts", ".m3u8")) and "fmp4" not in name and ".ll." not in name) or name == "mpegts"


def is_run_of(part: list[str], whole: list[str]) -> bool:
    """Whether C{part} stands in C{whole}, which is played round and round, in one piece."""
    if not part:
        return False
    rounds = whole * (2 + len(part) // len(whole))
    begins = (at for at in range(len(whole)) if whole[at] == part[0])
    return any(rounds[at : at + len(part)] == part for at in begins)


#: (presentation time in ticks of 90 kHz, digest) of each packet of a track, in the order they come. The time
#: of the first packet is not told by some protocols.
Packets = list[tuple[Fraction | None, str]]
_NO_TIME: Final = -(1 << 63)
#: The first packets of a file, whose times are not compared: the encoder's delay is in the length of one of
#: them, which a muxer of MPEG-TS that puts several into one PES packet does not tell.
_SETTLING: Final = 8


def hashing_command(
    source: Path | str,
    codecs: Mapping[str, str],
    *,
    options: Sequence[str] = (),
    adts: bool = False,
    ffmpeg: str | None = None,
) -> list[str]:
    """An ffmpeg that writes a line for each packet of C{source}; L{hashed} reads them.

    @param codecs: ffmpeg's name of the codec by stream specifier (C{v:0}, C{a:0}), in the order of output.
    @param options: input options. @param adts: AAC has its headers in this container.
    """
    command = [ffmpeg or newer_ffmpeg() or FFMPEG or "ffmpeg", "-v", "error", "-nostdin"]
    command += [*options, "-i", str(source), "-copyts"]
    for track in codecs:
        command += ["-map", f"0:{track}"]
    # Its readers of RTP do not say which packets of VP9 are keyframes.
    command += ["-c", "copy", *(["-copyinkf"] if "vp9" in codecs.values() else [])]
    for index, codec in enumerate(codecs.values()):
        filters = "aac_adtstoasc" if codec == "aac" and adts else _FILTERS.get(codec)
        if filters:
            command += [f"-bsf:{index}", filters]
    return [*command, "-f", "framehash", "-hash", "md5", "-"]


def hashed(text: str, codecs: Mapping[str, str]) -> dict[str, Packets]:
    """What L{hashing_command} wrote, by stream specifier."""
    names = list(codecs)
    found: dict[str, Packets] = {name: [] for name in names}
    scales: dict[int, Fraction] = {}
    for line in text.splitlines():
        if line.startswith("#tb "):
            number, _, scale = line[4:].partition(":")
            scales[int(number)] = Fraction(scale.strip()) * 90_000
        elif line and not line.startswith("#"):
            fields = [each.strip() for each in line.split(",")]
            if len(fields) >= 6 and len(fields[5]) == 32:
                index = int(fields[0])
                time = int(fields[2])
                ticks = None if time == _NO_TIME else time * scales[index]
                found[names[index]].append((ticks, fields[5]))
    return found


def read_packets(
    source: Path | str, codecs: Mapping[str, str], *, options: Sequence[str] = (), adts: bool = False
) -> dict[str, Packets]:
    """Times and digests of a file, by stream specifier.

    @raise AssertionError: ffmpeg cannot read it.
    """
    command = hashing_command(source, codecs, options=options, adts=adts)
    done = subprocess.run(command, capture_output=True, timeout=60)
    if done.returncode:
        raise AssertionError(f"ffmpeg could not read {source}: {done.stderr.decode(errors='replace')[:2000]}")
    return hashed(done.stdout.decode(), codecs)


@frozen
class Piece:
    """Where a recording lies in what was published.

    @ivar shift: ticks from the published time to the seen one, of the first packet; @ivar count: of packets.
    """

    shift: Fraction
    count: int


def place_of(seen: Packets, published: Packets, tolerance: int, what: str) -> Piece:
    """Where C{seen} lies in C{published}, which is played round and round: in one piece, with its times.

    @param tolerance: ticks by which the distance of two packets may differ.
    @raise AssertionError: packets are missing, foreign, out of turn or at other times.
    """
    if not seen:
        raise AssertionError(f"{what}: nothing came")
    sums = [digest for _, digest in published]
    wanted = [digest for _, digest in seen]
    best = 0
    for start in range(len(sums)):
        if sums[start] != wanted[0]:
            continue
        length = 0
        while length < len(wanted) and wanted[length] == sums[(start + length) % len(sums)]:
            length += 1
        best = max(best, length)
        if length == len(wanted):
            return Piece(_same_times(seen, published, start, tolerance, what), length)
    known = set(sums)
    foreign = [index for index, digest in enumerate(wanted) if digest not in known]
    raise AssertionError(
        f"{what}: only {best} of {len(wanted)} packets are a piece of what was published; "
        f"{len(foreign)} are foreign, the first of them at {foreign[:5]}"
    )


def _same_times(seen: Packets, published: Packets, start: int, tolerance: int, what: str) -> Fraction:
    """The shift of the first packet; all up to where the file begins again must have it, too."""
    shift: Fraction | None = None
    for index, (time, _) in enumerate(seen[: len(published) - start]):
        there = published[start + index][0]
        if start + index < _SETTLING or (time is None and not index):
            continue
        if time is None or there is None:
            raise AssertionError(f"{what}: packet {index} of {len(seen)} has no time")
        if shift is None:
            shift = time - there
        if abs(time - there - shift) > tolerance:
            off = float(time - there - shift)
            raise AssertionError(f"{what}: packet {index} of {len(seen)} is {off} ticks off")
    return shift or Fraction(0)
