"""A small strict reader of HLS media playlists (RFC 8216), and the rules a live one keeps from reload to
reload."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from attrs import frozen

from test.e2e.nodes import Node, get, wait_until

#: Tags a media playlist of ours may hold; anything else is a mistake worth seeing.
_KNOWN = {
    "EXTM3U",
    "EXT-X-VERSION",
    "EXT-X-TARGETDURATION",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-PLAYLIST-TYPE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-ENDLIST",
    "EXT-X-INDEPENDENT-SEGMENTS",
    "EXT-X-MAP",
    "EXT-X-PROGRAM-DATE-TIME",
    "EXT-X-DISCONTINUITY",
    "EXT-X-GAP",
    "EXTINF",
    "EXT-X-PART",
    "EXT-X-PART-INF",
    "EXT-X-SERVER-CONTROL",
    "EXT-X-PRELOAD-HINT",
    "EXT-X-BITRATE",
}


@frozen(kw_only=True)
class Listed:
    """One segment of a playlist.

    @ivar number: its media sequence number. @ivar lines: all its lines, as they stand. @ivar time:
        EXT-X-PROGRAM-DATE-TIME.
    """

    number: int
    uri: str
    duration: float
    lines: tuple[str, ...]
    time: datetime | None
    discontinuity: bool
    gap: bool


@frozen(kw_only=True)
class Playlist:
    """A media playlist."""

    target: int
    sequence: int
    discontinuity_sequence: int
    segments: tuple[Listed, ...]
    text: str

    @property
    def numbers(self) -> list[int]:
        """Numbers of all segments, gaps too."""
        return [segment.number for segment in self.segments]


def parse(text: str) -> Playlist:
    """Read a media playlist.

    @raise AssertionError: it breaks a rule of RFC 8216.
    """
    lines = text.split("\n")
    demand(lines[0] == "#EXTM3U", "the first line is #EXTM3U", text)
    demand("\r" not in text and text.endswith("\n"), "lines end with one line feed", text)
    target = sequence = discontinuity_sequence = -1
    pending: list[str] = []
    segments: list[Listed] = []
    for line in lines[1:]:
        name, _, value = line[1:].partition(":")
        if not line:
            continue
        if not line.startswith("#"):
            demand(
                target > 0 and sequence >= 0,
                "TARGETDURATION and MEDIA-SEQUENCE come before the first segment",
                text,
            )
            segments.append(listed(sequence + len(segments), (*pending, line), target, text))
            pending = []
            continue
        demand(not line.startswith("#EXT") or name in _KNOWN, f"a tag of RFC 8216, not {line!r}", text)
        if name == "EXT-X-TARGETDURATION":
            demand(target < 0, "one TARGETDURATION", text)
            target = int(value)
        elif name == "EXT-X-MEDIA-SEQUENCE":
            demand(not segments and sequence < 0, "one MEDIA-SEQUENCE, before the segments", text)
            sequence = int(value)
        elif name == "EXT-X-DISCONTINUITY-SEQUENCE":
            demand(
                not segments and discontinuity_sequence < 0,
                "one DISCONTINUITY-SEQUENCE, before the segments",
                text,
            )
            discontinuity_sequence = int(value)
        elif name in {
            "EXTINF",
            "EXT-X-PROGRAM-DATE-TIME",
            "EXT-X-DISCONTINUITY",
            "EXT-X-GAP",
            "EXT-X-MAP",
            "EXT-X-BITRATE",
        }:
            pending.append(line)
    playlist = Playlist(
        target=target,
        sequence=max(sequence, 0),
        discontinuity_sequence=max(discontinuity_sequence, 0),
        segments=tuple(segments),
        text=text,
    )
    check_times(playlist)
    return playlist


def listed(number: int, lines: tuple[str, ...], target: int, text: str) -> Listed:
    """One segment from its lines, the last of which is its URI."""
    tags = dict(line[1:].partition(":")[::2] for line in lines[:-1])
    found = re.fullmatch(r"(\d+(?:\.\d+)?),.*", tags.get("EXTINF", ""))
    demand(found is not None, f"segment {number} has an EXTINF", text)
    assert found is not None
    duration = float(found.group(1))
    demand(
        int(duration + 0.5) <= target,
        f"EXTINF {duration} of segment {number} rounds to at most TARGETDURATION",
        text,
    )
    stamp = tags.get("EXT-X-PROGRAM-DATE-TIME")
    return Listed(
        number=number,
        uri=lines[-1],
        duration=duration,
        lines=lines,
        time=datetime.fromisoformat(stamp.replace("Z", "+00:00")) if stamp else None,
        discontinuity="EXT-X-DISCONTINUITY" in tags,
        gap="EXT-X-GAP" in tags,
    )


def check_times(playlist: Playlist) -> None:
    """Within a run, dates advance by the durations (to 50 ms: the durations are rounded, the picture order
    shifts)."""
    for one, other in zip(playlist.segments, playlist.segments[1:], strict=False):
        if one.time and other.time and not other.discontinuity and not one.gap and not other.gap:
            off = abs((other.time - one.time - timedelta(seconds=one.duration)).total_seconds())
            demand(
                off < 0.05,
                f"PROGRAM-DATE-TIME of {other.number} follows from {one.number} ({off:.3f} s off)",
                playlist.text,
            )


def check_reload(old: Playlist, new: Playlist) -> None:
    """What a reload may change (RFC 8216 section 6.2.2): only add at the end and take away at the start."""
    demand(new.sequence >= old.sequence, "MEDIA-SEQUENCE never falls", old.text + "\n-- then --\n" + new.text)
    demand(
        new.discontinuity_sequence >= old.discontinuity_sequence,
        "DISCONTINUITY-SEQUENCE never falls",
        old.text + new.text,
    )
    demand(new.target == old.target, "TARGETDURATION never changes", old.text + "\n-- then --\n" + new.text)
    known = {segment.number: segment for segment in old.segments}
    for segment in new.segments:
        before = known.get(segment.number)
        demand(
            before is None or before.uri == segment.uri,
            f"segment {segment.number} keeps its URI",
            old.text + new.text,
        )
    if old.segments and new.segments:
        demand(
            new.numbers[-1] >= old.numbers[-1],
            "the newest segment never falls",
            old.text + "\n-- then --\n" + new.text,
        )


def demand(right: object, rule: str, text: str) -> None:
    """Fail with the rule and the playlist that breaks it."""
    if not right:
        raise AssertionError(f"rule broken: {rule}\n{text[:3000]}")


def fetch(node: Node, stream: str, file: str = "index.m3u8") -> Playlist:
    """The media playlist of C{stream}: C{file}, or the first one that its master playlist names."""
    path = f"/{stream}/{file}"
    for _ in range(2):
        answer = get(node.http, path)
        if answer.status != 200:
            raise AssertionError(f"{path} on {node.name} answered {answer.status} {answer.body[:200]!r}")
        kind = answer.headers.get("content-type", "")
        demand("mpegurl" in kind.lower(), f"an HLS content type, not {kind!r}", "")
        text = answer.body.decode()
        if "#EXT-X-STREAM-INF" not in text:
            return parse(text)
        path = resolve(path, next(line for line in text.splitlines() if line and not line.startswith("#")))
    raise AssertionError(f"a master playlist that names a master playlist:\n{text}")


def wait_segments(
    node: Node, stream: str, count: int, *, beyond: int = -1, seconds: float = 20.0
) -> Playlist:
    """The playlist of C{stream} once it lists C{count} playable segments with numbers above C{beyond}."""

    def enough() -> Playlist | None:
        try:
            playlist = fetch(node, stream)
        except AssertionError as failure:
            if re.search(r"answered (404|503)", str(failure)):
                return None
            raise
        fresh = [segment for segment in playlist.segments if segment.number > beyond and not segment.gap]
        return playlist if len(fresh) >= count else None

    return wait_until(enough, seconds, f"{count} segments of {stream} beyond {beyond} on {node.name}")


def resolve(playlist: str, uri: str) -> str:
    """The path of C{uri} in C{playlist}."""
    return uri if uri.startswith("/") else playlist.rpartition("/")[0] + "/" + uri


def segment_bytes(node: Node, stream: str, segment: Listed) -> bytes:
    """A segment's bytes."""
    answer = get(node.http, resolve(f"/{stream}/index.m3u8", segment.uri))
    if answer.status != 200:
        raise AssertionError(
            f"segment {segment.number} on {node.name} answered {answer.status} {answer.body[:200]!r}"
        )
    return answer.body
